"""`python -m duly_monitor`: read the configuration, serve until told to stop."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from duly.errors import DulyError
from duly.runtime.loading import load
from duly_monitor.app import run
from duly_monitor.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the monitor; return 0 after an orderly end, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="duly-monitor", description="duly's monitor")
    parser.add_argument("--config", type=Path, help="the YAML file (default: ./duly.yaml, if any)")
    given = parser.parse_args(arguments)
    try:
        return run(load(Settings, given.config))
    except DulyError as error:
        print(f"duly-monitor: {error}", file=sys.stderr)  # noqa: T201 - logs may not exist yet
        return 1


if __name__ == "__main__":
    sys.exit(main())
