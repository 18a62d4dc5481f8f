"""Writes the dashboards of the chart: `python deploy/dashboards/build.py`."""

import json
from pathlib import Path

from boards import DASHBOARDS

FOLDER = Path(__file__).parents[1] / "helm/duly/files/dashboards"


def main() -> None:
    """Write each dashboard to its file."""
    for name, dashboard in DASHBOARDS.items():
        # One line a panel: a change of one is a change of its line.
        parts = [
            f"{json.dumps(key)}: {_lines(value) if isinstance(value, list) else json.dumps(value)}"
            for key, value in dashboard.built().items()
        ]
        text = "{\n" + ",\n".join(parts) + "\n}\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def _lines(items: list[object]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, items)) + "\n]"


if __name__ == "__main__":
    main()
