"""Writes the chart's table of values into its README, out of values.yaml's `# --` comments.

`python readme.py --check` says whether the README is up to date.
"""

# ruff: noqa: INP001 - a script, not a package

import re
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "helm/duly"
MARK = "<!-- values -->\n"
KEY = re.compile(r"^( *)([A-Za-z]+):")


def comments(text: str) -> dict[str, str]:
    """Give each commented key's path and comment."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment = ""
    for line in text.splitlines():
        if line.strip().startswith("# -- "):
            comment = line.strip().removeprefix("# -- ")
        elif match := KEY.match(line):
            path[len(match[1]) // 2 :] = [match[2]]
            if comment:
                found[".".join(path)] = comment
            comment = ""
    return found


def leaves(values: dict[str, Any], path: str, described: dict[str, str]) -> list[tuple[str, Any]]:
    """Give each key that holds no further keys, or that is described as a whole."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and name not in described:
            found += leaves(value, f"{name}.", described)
        else:
            found.append((name, value))
    return found


def shown(value: Any) -> str:  # noqa: ANN401 - whatever YAML holds
    """Give a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def table() -> str:
    """Give the table in Markdown."""
    text = (CHART / "values.yaml").read_text()
    described = comments(text)
    rows = ["| value | default | what it is |", "| --- | --- | --- |"]
    for name, value in leaves(yaml.safe_load(text), "", described):
        meaning = described.get(name, "").replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown(value)}` | {meaning} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write it, or compare."""
    path = CHART / "README.md"
    before = path.read_text()
    after = before.partition(MARK)[0] + MARK + table()
    if "--check" in sys.argv:
        return int(before != after)
    path.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
