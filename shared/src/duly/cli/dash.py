"""`duly dash`: a live dashboard in the terminal."""

import sys
from typing import Annotated, Final

import typer

from duly.cli.access import access_of
from duly.cli.nouns import MisuseError, duration_of
from duly.engine.inspection.inspector import Inspector
from duly.extras import require

EPILOG: Final = """Examples:

  duly dash

  duly dash --refresh 5s"""
_LEAST_SECONDS: Final = 0.2


def dash(
    context: typer.Context,
    refresh: Annotated[str, typer.Option(help="Refresh interval: 500ms, 2s.")] = "2s",
) -> None:
    """Watch queues and tasks live, and operate on them: run, archive, delete, pause.

    Arrows or hjkl move, Enter opens, Esc goes back, ? shows every key.
    """
    seconds = duration_of("--refresh", refresh).total_seconds()
    if seconds < _LEAST_SECONDS:
        raise MisuseError(f"--refresh: {refresh!r} is too short; use 200ms or more")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MisuseError(
            "duly dash needs a terminal; in a pipe or a script use `duly stats --json`"
        )
    require("duly dash", "textual")
    from duly.cli.board import Board

    async def show(inspector: Inspector) -> None:
        await Board(inspector, seconds).run_async()

    access_of(context).inspect(show)
