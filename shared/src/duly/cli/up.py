"""`duly up`: run the whole system on this machine."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import rich.console
import typer

from duly.app.configuration import configured
from duly.cli.nouns import MisuseError
from duly.clock import SystemClock
from duly.local.console import Console
from duly.local.plan import UpOptions, checks_orders
from duly.runtime.loading import load
from duly.runtime.running import DATA_DIR, sole_runner
from duly.runtime.settings import Settings

EPILOG = """Examples:

  duly up                                everything, with demo orders

  duly up --app shop.jobs:app --reload   your own application; no demo orders, no database

  duly up --port 8081 --no-trickle       another port, no new demo orders

  DULY_LOG__LEVEL=DEBUG duly up          also log the items of each order

  duly up --config duly.yaml --no-demo   with your own Redis and database"""


def up(
    *,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="Your application, such as shop.jobs:app.",
            show_default="the setting app, else the check of pending orders",
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="Start workers and the scheduler anew when the source changes."
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A duly.yaml. DULY_… variables override its keys.",
            show_default="./duly.yaml, if there is one",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="Use this Redis or Valkey instead of an embedded one. If it has a password, set "
            "DULY_REDIS__URL instead: every user of this machine can read a command line."
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Use this orders database instead of SQLite. Its tables must be there: duly up "
            "creates none in it, unless --demo asks for some. If it has a password, set "
            "DULY_DATABASE__URL instead."
        ),
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Fill the database with demo orders.",
            show_default="only in the embedded database",
        ),
    ] = None,
    trickle: Annotated[
        bool, typer.Option("--trickle/--no-trickle", help="Keep adding and completing demo orders.")
    ] = True,
    monitor: Annotated[
        bool, typer.Option("--monitor/--no-monitor", help="Serve the monitor.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of the monitor; 0: any free port.",
            min=0,
            max=65535,
            show_default="async.monitor.port, 8080",
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Directory for the data of the embedded Valkey and database.")
    ] = DATA_DIR,
) -> None:
    """Run the whole system on this machine.

    Without --app it checks pending orders, with demo orders. Ctrl-C or SIGTERM stops it. It embeds
    a Valkey, and for pending orders an SQLite database, stored in .duly/, unless the configuration
    names others. Each queue gets one worker. The processes are the same commands that run on
    Kubernetes; a process that dies is restarted.
    """
    options = UpOptions(
        data_dir=data_dir,
        config=config,
        app=app,
        reload=reload,
        redis_url=redis_url,
        database_url=database_url,
        demo=demo,
        trickle=trickle,
        monitor=monitor,
        port=port,
    )
    asyncio.run(_up(options))


async def _up(options: UpOptions) -> None:
    from duly.local.up import run, until_stopped

    async with until_stopped() as stop:
        with sole_runner(options.data_dir):
            loaded = load(Settings, options.config)
            configuration, _ = configured(loaded, options.config, app=options.app)
            settings = options.applied(configuration)
            if options.demo and not checks_orders(settings):
                raise MisuseError("--demo: demo orders are for the check of pending orders only")
            console = Console(
                descriptor=sys.stdout.fileno(),
                colour=_wants_colour(),
                as_json=settings.log.format == "json",
                on_closed=stop.request_from_thread,
            )
            try:
                await run(settings, options, clock=SystemClock(), console=console)
            finally:
                console.close()


def _wants_colour() -> bool:
    terminal = rich.console.Console()
    return terminal.is_terminal and not terminal.no_color
