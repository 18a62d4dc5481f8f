"""Writes the table of provoked alerts in docs/telemetry.md from what `make alerts` measured.

Run this after a run that wrote tests/alerts/measured.json: `make docs`. A test compares the page
with the measurements, and these with the alerts that are shipped.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("telemetry.md")
MEASURED = ROOT / "tests" / "alerts" / "measured.json"
RULES = ROOT / "deploy" / "helm" / "duly" / "files" / "rules" / "duly.yaml"
BEGIN, END = "<!-- written by docs/alerts.py -->\n", "<!-- end of alerts -->\n"
HEAD = (
    "| alert | severity | has to last | provoked how | fired after | resolved after |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


def measured() -> dict[str, Any]:
    """Return what the last run of all provocations wrote."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def shipped() -> dict[str, dict[str, str]]:
    """Return alert → its severity and its `for`, in the order of the file."""
    text = RULES.read_text(encoding="utf-8")
    found = {}
    for part in re.split(r"^      - (?=alert: |record: )", text, flags=re.MULTILINE)[1:]:
        if part.startswith("alert: "):
            lasts = re.search(r"^        for: (\w+)$", part, re.MULTILINE)
            severity = re.search(r"severity: (\w+)", part)
            found[part.split()[1]] = {
                "for": lasts[1] if lasts else "at once",
                "severity": severity[1] if severity else "",
            }
    return found


def table() -> str:
    """Return the table, with a row for each alert."""
    found = measured()
    rows = []
    for name, says in shipped().items():
        begin = f"| [{name}](operating.md#{name.lower()}) | {says['severity']} | {says['for']} | "
        if name in found["alerts"]:
            one = found["alerts"][name]
            rows.append(f"{begin}{one['how']} | {one['fired']:.0f} s | {one['resolved']:.0f} s |\n")
        else:
            rows.append(f"{begin}{found['not_provoked'][name]} | not provoked | |\n")
    return HEAD + "".join(rows)


def page() -> str:
    """Return the page with the table of today."""
    text = PAGE.read_text(encoding="utf-8")
    part = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return part.sub(lambda _: BEGIN + table() + END, text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
