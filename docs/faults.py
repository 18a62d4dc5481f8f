"""Writes the table of faults in docs/reliability.md: what is promised, proved and measured.

The promises stand in tests/faults/promises.toml. A test says which of them it proves by
`@pytest.mark.fault("name")`. What it measured is noted by `pytest tests/faults --measure FILE`.
Run this after a change of any of them: `make docs`. A test compares the page with them.
"""

import ast
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = Path(__file__).with_name("reliability.md")
PROMISES = TESTS / "faults" / "promises.toml"
MEASURED = TESTS / "faults" / "measured.json"
BEGIN, END = "<!-- written by docs/faults.py -->\n", "<!-- end -->\n"
HEAD = "| fault | promise | tests | measured |\n| --- | --- | --- | --- |\n"


def promises() -> list[dict[str, str]]:
    """Return name, fault and promise of each."""
    return tomllib.loads(PROMISES.read_text(encoding="utf-8"))["promise"]


def proofs() -> dict[str, list[str]]:
    """Return the tests that prove each promise: its name → "tests/….py::test_…"."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = [
            name
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "pytestmark"
            for name in _marks(node.value)
        ]
        for node in tree.body:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[:5] == "test_"
            ):
                own = [name for mark in node.decorator_list for name in _marks(mark)]
                for name in own or everywhere:
                    found[name].append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return dict(found)


def _marks(node: ast.expr) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault":
            yield ast.literal_eval(call.args[0])


def measured() -> dict[str, dict[str, Any]]:
    """Return what each test measured, as `Measured` of tests/faults/conftest.py."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def table() -> str:
    """Return the table, with a row for each promise."""
    tests, figures = proofs(), measured()
    rows = [
        f"| {row['fault']} | {row['promise']} | {_files(tests[row['name']])} | "
        f"{_summary([figures[test] for test in tests[row['name']] if test in figures])} |\n"
        for row in promises()
    ]
    return HEAD + "".join(rows)


def _files(tests: list[str]) -> str:
    paths = dict.fromkeys(test.split("::")[0] for test in tests)
    return ", ".join(f"[`{Path(path).name}`](../{path})" for path in paths)


def _summary(found: list[dict[str, Any]]) -> str:
    """Return what the tests of one promise measured, added up."""
    counted = ("runs", "faults", "accepted", "lost", "again", "doubled")
    total = {key: sum(row[key] for row in found) for key in counted}
    parts = []
    if total["accepted"]:
        kind = "faults" if total["faults"] else "runs"
        faults = f"{total[kind]} {kind}: " if total[kind] > 1 else ""
        parts.append(
            f"{faults}{total['accepted']:,} accepted, {total['lost']} lost, "
            f"{total['again']} again, {total['doubled']} with a second effect"
        )
    if recovered := [seconds for row in found for seconds in row["recovered"]]:
        longest, middle = max(recovered), median(recovered)
        parts.append(f"recovered after {middle:.1f} s at the median, {longest:.1f} s at most")
    parts += [f"{name} {value}" for row in found for name, value in row["figures"].items()]
    return "; ".join(parts) or "as promised"


def page() -> str:
    """Return the page with the table of today."""
    text = PAGE.read_text(encoding="utf-8")
    part = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return part.sub(lambda _: BEGIN + table() + END, text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
