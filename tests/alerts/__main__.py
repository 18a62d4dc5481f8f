"""`make alerts`: provoke every shipped alert on real services, and measure it.

ARGS="--only DulyQueuePaused" provokes some, "--keep FOLDER" keeps the logs, "--draw docs/images"
draws the dashboards. A run of all takes a
quarter of an hour, and writes tests/alerts/measured.json; `make docs` makes the table of it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from alerting import SCRAPE, missing
from drawing import drawn
from panels import shown, silent
from provocations import NOT_PROVOKED, PROVOCATIONS
from provoke import FACTOR, provoke

MEASURED = Path(__file__).with_name("measured.json")


def main():
    """Provoke, print, note; return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", nargs="+", default=[], help="names of alerts (all)")
    arguments.add_argument("--factor", type=int, default=FACTOR, help=f"of the times ({FACTOR})")
    arguments.add_argument("--keep", type=Path, default=None, help="keep logs and data here")
    arguments.add_argument("--draw", type=Path, default=None, help="draw the dashboards here")
    options = arguments.parse_args()
    if programs := missing():
        arguments.error(f"missing: {', '.join(programs)}; these are Debian's packages")
    chosen = [
        one for one in PROVOCATIONS if not options.only or set(one.alerts) & set(options.only)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(
            provoke(
                folder.resolve(),
                chosen,
                factor=options.factor,
                say=lambda line: print(line, flush=True),
                look=partial(draw, options.draw) if options.draw else None,
            )
        )
    unseen = sorted({name for one in chosen for name in one.alerts} - found.keys())
    if unseen:
        print(f"not provoked, or not resolved: {', '.join(unseen)}")
    elif not options.only:
        note(found, options.factor)
    return 1 if unseen else 0


def draw(folder, port, seconds):
    """Draw each dashboard from what its queries answer, and tell of panels without an answer."""
    results = shown(port, seconds)
    for words, titles in zip(("No series", "Only zero"), silent(results), strict=True):
        print(f"{words}: {'; '.join(titles) or 'none'}", flush=True)
    for name in results:
        file = folder / f"dashboard-{name}.svg"
        file.write_text(drawn(name, results, seconds), encoding="utf-8")


def note(found, factor):
    """Write what was measured, as docs/alerts.py reads it."""
    alerts = {
        name: {"how": how, "fired": fired, "resolved": resolved}
        for name, (fired, resolved, how) in sorted(found.items())
    }
    content = {"factor": factor, "scrape": SCRAPE, "alerts": alerts, "not_provoked": NOT_PROVOKED}
    MEASURED.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
