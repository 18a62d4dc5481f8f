"""`duly up`: run the whole system on this machine."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import rich.console
import typer

from duly.clock import SystemClock
from duly.local.console import Console
from duly.local.plan import Wishes
from duly.local.running import DATA_DIR, sole_runner
from duly.runtime.loading import load
from duly.runtime.settings import Settings

EPILOG = """Examples:

  duly up                              everything, with demo orders

  duly up --port 8081 --no-trickle     another port, no new demo orders

  DULY_LOG__LEVEL=DEBUG duly up        each order's items, too

  duly up --config duly.yaml --no-demo with your own Redis and database"""


def up(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A duly.yaml; its keys may also be set by DULY_… variables.",
            show_default="./duly.yaml, if there is one",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="Use this Redis or Valkey, not an embedded one. With a password, rather set "
            "DULY_REDIS__URL: everybody here can read a command line."
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Use this orders database, not SQLite. With a password, rather set "
            "DULY_DATABASE__URL."
        ),
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Fill the database with demo orders.",
            show_default="only a database of our own",
        ),
    ] = None,
    trickle: Annotated[
        bool, typer.Option("--trickle/--no-trickle", help="Let demo orders come and go.")
    ] = True,
    monitor: Annotated[
        bool, typer.Option("--monitor/--no-monitor", help="Serve the monitor.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(
            help="The monitor's port; 0: any free one.",
            min=0,
            max=65535,
            show_default="async.monitor.port, 8080",
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Where the embedded Valkey and database keep their data.")
    ] = DATA_DIR,
) -> None:
    """Run the whole system on this machine.

    Ctrl-C or SIGTERM stops it. Brings its own Valkey and SQLite database, kept in .duly/,
    unless the configuration names others. One worker runs for each queue. Every process is the
    command that runs on Kubernetes; one that dies is restarted.
    """
    wishes = Wishes(
        data_dir=data_dir,
        config=config,
        redis_url=redis_url,
        database_url=database_url,
        demo=demo,
        trickle=trickle,
        monitor=monitor,
        port=port,
    )
    asyncio.run(_up(wishes))


async def _up(wishes: Wishes) -> None:
    from duly.local.up import run, until_stopped

    async with until_stopped() as stop:
        with sole_runner(wishes.data_dir):
            settings = wishes.applied(load(Settings, wishes.config))
            console = Console(
                descriptor=sys.stdout.fileno(),
                colour=_wants_colour(),
                on_closed=stop.wish_from_thread,
            )
            try:
                await run(settings, wishes, clock=SystemClock(), console=console)
            finally:
                console.close()


def _wants_colour() -> bool:
    terminal = rich.console.Console()
    return terminal.is_terminal and not terminal.no_color
