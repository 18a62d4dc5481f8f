"""`duly dash`: the queues live in a terminal."""

from typing import Annotated, Final

import typer

from duly.cli.access import access_of
from duly.cli.nouns import MisuseError, duration_of
from duly.engine.inspector import Inspector

EPILOG: Final = """Examples:

  duly dash

  duly dash --refresh 5s"""
_LEAST_SECONDS: Final = 0.2


def dash(
    context: typer.Context,
    refresh: Annotated[str, typer.Option(help="How often to look again: 500ms, 2s.")] = "2s",
) -> None:
    """Watch queues and tasks live, and put them right: run, archive, delete, pause.

    Arrows or hjkl move, Enter opens, Esc goes back, ? shows every key.
    """
    seconds = duration_of(refresh).total_seconds()
    if seconds < _LEAST_SECONDS:
        raise MisuseError(f"--refresh: {refresh!r} is too often; write 200ms or more")
    try:
        from duly.cli.board import Board
    except ModuleNotFoundError as error:
        raise MisuseError(
            f"duly dash needs the package {error.name}: pip install 'duly[dash]'"
        ) from None

    async def show(inspector: Inspector) -> None:
        await Board(inspector, seconds).run_async()

    access_of(context).inspect(show)
