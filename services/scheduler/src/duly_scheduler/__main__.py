"""`python -m duly_scheduler`: enqueues the jobs of the timetable until SIGTERM."""

import argparse
import sys
from collections.abc import Sequence

from duly.errors import DulyError
from duly.runtime.commandline import add_config, reported
from duly.runtime.footprint import import_sparingly

EPILOG = """\
examples:
  python -m duly_scheduler
      use the broker that ./duly.yaml names, or 127.0.0.1:6379 without that file
  python -m duly_scheduler --config /etc/duly/duly.yaml --fail-fast
      end at once, instead of waiting, when the broker does not answer
  python -m duly_scheduler --app shop.jobs:app
      keep the schedules of your own application
  DULY_SCHEDULER__INTERVAL=1m python -m duly_scheduler
      check pending orders once a minute

The application declares the timetable. Any number of replicas may run: each tick is
enqueued once. An environment variable overrides its key of the file:
DULY_SCHEDULER__INTERVAL stands for scheduler.interval.

exit codes:
  0  stopped by SIGTERM or SIGINT
  1  the broker did not answer (--fail-fast), or an unexpected error
  2  a setting, the timetable or the command line is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Schedule as the command line says, and return the exit code."""
    given = _parser().parse_args(arguments)
    import_sparingly()
    from duly.runtime import logs
    from duly.runtime.loading import load
    from duly_scheduler.settings import Settings

    try:
        settings = load(Settings, given.config)
        logs.starting(settings.log, "Scheduler starting", service="scheduler")
        from duly.app.configuration import configured
        from duly_scheduler.app import run

        settings, app = configured(settings, given.config, app=given.app)
        return run(settings, app, fail_fast=given.fail_fast)
    except DulyError as error:
        return reported(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="duly_scheduler",
        description="Enqueues the jobs of the timetable when they are due, until SIGTERM.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    parser.add_argument(
        "--app",
        metavar="MODULE:NAME",
        help="the application whose schedules are kept (default: the setting app; without it, "
        "the check of pending orders)",
    )
    parser.add_argument(
        "--fail-fast",
        action="store_true",
        help="exit with code 1 when the broker does not answer at the start (default: retry "
        "until it does)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
