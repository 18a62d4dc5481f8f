"""The chart's documents say what the chart does."""

import json
import subprocess
import sys

import yaml


def test_the_table_of_values_is_up_to_date(root):
    done = subprocess.run([sys.executable, str(root / "deploy/readme.py"), "--check"], check=False)

    assert done.returncode == 0, "run `make readme`"


def test_every_value_is_in_the_schema(chart):
    """A value that the schema does not name would be refused when it is set."""
    schema = json.loads((chart / "values.schema.json").read_text())

    def names(node):
        references = [node, *node.get("allOf", [])]
        bases = [
            schema["$defs"].get(item.get("$ref", "").rpartition("/")[2]) for item in references
        ]
        found = {}
        for base in filter(None, bases):
            found |= names(base)
        own = {name: part for name, part in node.get("properties", {}).items() if part is not True}
        return found | own

    def walk(values, node, path):
        known = names(node)
        for key, value in values.items():
            assert key in known or not known, f"{path}{key}"
            if isinstance(value, dict) and key in known and names(known[key]):
                walk(value, known[key], f"{path}{key}.")

    walk(yaml.safe_load((chart / "values.yaml").read_text()), schema, "")


def test_a_section_names_each_key_that_it_takes_from_others(chart):
    """`additionalProperties` sees no further; with `unevaluatedProperties`, Helm says little."""
    schema = json.loads((chart / "values.schema.json").read_text())
    sections = 0

    def walk(node):
        nonlocal sections
        if isinstance(node, dict):
            references = [part["$ref"].rpartition("/")[2] for part in node.get("allOf", ())]
            if references:
                sections += 1
                wanted = [schema["$defs"][name]["properties"] for name in references]
                listed = {name for name, part in node["properties"].items() if part is True}
                assert listed == {name for part in wanted for name in part}
                assert node["additionalProperties"] is False
            for part in node.values():
                walk(part)

    walk(schema)
    assert sections == 12


def test_every_row_says_what_it_is(chart):
    rows = [line for line in (chart / "README.md").read_text().splitlines() if "| `" in line]

    assert len(rows) > 100
    assert [row for row in rows if row.rstrip().endswith("|  |")] == []
