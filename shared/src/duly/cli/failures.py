"""`duly failures`: failed tasks, one line per cause instead of one per task."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import queues
from duly.cli.nouns import Json, fail_unreadable, noun
from duly.cli.selection import examined
from duly.engine.inspection.failures import DEFAULT_WINDOW, FailureGroup

app = noun(
    "Show archived and quarantined tasks, grouped by cause.",
    "duly failures ls\nduly failures ls --queue default --json",
)


@app.callback()
def _failures() -> None:
    """Keep `ls` a subcommand, though it is the only one."""


@app.command("ls")
def list_failures(
    context: typer.Context,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUEUE",
            autocompletion=queues,
            help="Name of a queue; may be repeated. Default: all.",
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Examine at most this many tasks, the newest.")
    ] = DEFAULT_WINDOW,
    as_json: Json = False,
) -> None:
    """List groups of failures, the most frequent first, each with its newest task.

    The failures of a group have the same kind, exception and place in the handler's code.
    JSON: {"groups": [{"fingerprint", "kind", "error", "count", "first", "last", "queues",
    "example": {"id", "queue"}, "hours": failures in each of the last 24 hours}], "scanned",
    "total", "unreadable"}
    """
    found = access_of(context).inspect(
        lambda inspector: inspector.failures.survey(queues=tuple(queue or ()), window=window)
    )
    if as_json:
        render.as_json(found)
        fail_unreadable(found.unreadable)
        return
    columns = (">count", "kind", "last", "first", "example", "~error")
    render.table(columns, map(_row, found.groups), empty="no failures")
    if found.scanned < found.total:
        typer.echo(examined(found.scanned, found.total, complete=False))
    fail_unreadable(found.unreadable)


def _row(group: FailureGroup) -> tuple[object, ...]:
    return (
        group.count,
        group.kind or render.NOTHING,
        render.ago(group.last),
        render.ago(group.first),
        group.example.id,
        group.error or render.NOTHING,
    )
