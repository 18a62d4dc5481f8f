"""`python -m duly_monitor`: read the configuration, serve until stopped."""

import argparse
import sys
from collections.abc import Sequence

from duly.errors import DulyError
from duly.runtime.commandline import add_config, reported
from duly.runtime.footprint import import_sparingly

EPILOG = """\
examples:
  python -m duly_monitor --config /etc/duly/duly.yaml
      serve the monitor as the file says
  DULY_MONITOR__ACCESS=local python -m duly_monitor
      serve it on the loopback address only, without a login

An environment variable overrides its key of the file: DULY_ASYNC__MONITOR__PORT stands for
async.monitor.port.

exit codes:
  0  stopped by SIGTERM or SIGINT
  1  an unexpected error
  2  a setting is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the monitor; return 0 after an orderly end, 1 after an error, 2 for a wrong setting."""
    parser = argparse.ArgumentParser(
        prog="duly-monitor",
        description="Serves the monitor: pages, JSON API and metrics, until SIGTERM.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    given = parser.parse_args(arguments)
    import_sparingly()
    from duly.runtime import logs
    from duly.runtime.loading import load
    from duly_monitor.settings import Settings

    try:
        settings = load(Settings, given.config)
        if settings.async_.monitor.enabled:
            logs.starting(settings.log, "Monitor starting", service="monitor")
        from duly_monitor.app import run

        return run(settings)
    except DulyError as error:
        return reported(error, prefix="duly-monitor: ")


if __name__ == "__main__":
    sys.exit(main())
