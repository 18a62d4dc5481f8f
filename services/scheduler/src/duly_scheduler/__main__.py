"""`python -m duly_scheduler`: enqueues what is due, until SIGTERM."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from duly.errors import ConfigError, DulyError
from duly.runtime.loading import load
from duly_scheduler.app import run
from duly_scheduler.settings import Settings

EPILOG = """\
Any number of replicas may run: a tick happens once. What runs when is said in
duly_scheduler/timetable.py; every setting can come from the environment too:
scheduler.interval is DULY_SCHEDULER__INTERVAL.

exit codes: 0 after SIGTERM or SIGINT, 1 when the broker does not answer (--fail-fast)
or something unexpected happened, 2 when a setting is wrong
"""
OK, FAILED, WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Schedule as the command line says, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="duly_scheduler",
        description="Enqueues the jobs of the timetable when they are due, until SIGTERM.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="F",
        help="the YAML file (default: the one DULY_CONFIG names, else ./duly.yaml if there is one)",
    )
    parser.add_argument(
        "--fail-fast",
        action="store_true",
        help="end with code 1 when the broker does not answer at the start; default: try on",
    )
    given = parser.parse_args(arguments)
    try:
        return run(load(Settings, given.config), fail_fast=given.fail_fast)
    except DulyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log may not be there yet
        return WRONG_USE if isinstance(error, ConfigError) else FAILED


if __name__ == "__main__":
    sys.exit(main())
