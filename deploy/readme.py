"""Writes what follows from the chart's values.yaml: its README's table, and `files/keys.txt`.

The table is made of the `# --` comments; the file names the keys that must not be null.
`python readme.py --check` reports whether both are up to date.
"""

# ruff: noqa: INP001 - a script, not a package

import re
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "helm/duly"
MARK = "<!-- values -->\n"
OPTIONAL = {"pdb", "resources"}
"""Keys that may be null."""
OPEN = {
    "worker.queues",
    "defaults.podSecurityContext",
    "defaults.containerSecurityContext",
    "defaults.updateStrategy",
    "valkey.podSecurityContext",
    "postgresql.podSecurityContext",
    "metrics.dashboards.labels",
}
"""Objects whose keys belong to whoever sets them."""
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


def required(values: dict[str, Any], path: str = "") -> list[str]:
    """Give the keys without which the templates cannot be rendered."""
    found: list[str] = []
    for key, value in values.items():
        name = f"{path}{key}"
        if value is None or key in OPTIONAL:
            continue
        found.append(name)
        if isinstance(value, dict) and name not in OPEN:
            found += required(value, f"{name}.")
    return found


def main() -> int:
    """Write them, or compare."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    path, keys = CHART / "README.md", CHART / "files/keys.txt"
    before = path.read_text()
    after = before.partition(MARK)[0] + MARK + table()
    listed = "\n".join(required(values)) + "\n"
    if "--check" in sys.argv:
        return int(before != after or keys.read_text() != listed)
    path.write_text(after)
    keys.write_text(listed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
