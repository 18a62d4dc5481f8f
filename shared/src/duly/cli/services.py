"""`duly worker`, `duly scheduler` and `duly monitor`: become one of the services."""

import os
import sys
from typing import Final, NoReturn

import typer

from duly.cli.access import Access
from duly.extras import require

EPILOG: Final = ""
CONTEXT_SETTINGS: Final = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
"""Everything after the name of a service is for the service, `--help` included."""


def worker(context: typer.Context) -> None:
    """Run a worker, as python -m duly_worker does."""
    _become("worker", context)


def scheduler(context: typer.Context) -> None:
    """Run a scheduler, as python -m duly_scheduler does."""
    _become("scheduler", context)


def monitor(context: typer.Context) -> None:
    """Run the monitor, as python -m duly_monitor does."""
    _become("monitor", context)


def _become(service: str, context: typer.Context) -> NoReturn:
    """Replace this process by the service, so that it costs nothing and gets all signals."""
    module = f"duly_{service}"
    require(f"duly {service}", module)
    access: Access = context.obj
    config = ["--config", str(access.config)] if access.config is not None else []
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *context.args, *config])  # noqa: S606
