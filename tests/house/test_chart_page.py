"""What docs/chart.md says of the chart is there: the values, the templates, the tests."""

import re

import pytest
import yaml

TICKED = re.compile(r"`([^`]+)`")
FUNCTION = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


@pytest.fixture(scope="module")
def rows(root):
    """The rows of the table after a mark, as lists of cells."""
    text = (root / "docs/chart.md").read_text()

    def read(mark):
        table = text.partition(f"<!-- {mark}: ")[2].partition("\n\n")[2].partition("\n\n")[0]
        lines = [line for line in table.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    return read


def has(values, path):
    for part in path.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def test_every_row_of_the_comparison_is_about_something_that_exists(root, rows):
    chart = root / "deploy/helm/duly"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    found = rows("comparison")

    for capability, here, *_ in found:
        anchors = TICKED.findall(here)
        assert anchors, capability
        missing = [one for one in anchors if not (chart / one).is_file() and not has(values, one)]
        assert not missing, capability
    assert len(found) > 30


def test_no_row_of_the_comparison_is_worse(rows):
    assert {row[-1] for row in rows("comparison")} == {"better", "as good"}


def test_every_fault_has_a_test(root, rows):
    found = rows("faults")

    assert [row[0] for row in found] == [f"K{number}" for number in range(1, 24)]
    for fault, _, tests in found:
        named = TICKED.findall(tests)
        assert named, fault
        for one in named:
            path, _, function = one.partition("::")
            assert function in FUNCTION.findall((root / path).read_text()), one
