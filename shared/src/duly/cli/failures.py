"""`duly failures`: what goes wrong, a line for each cause instead of one for each task."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, noun
from duly.cli.selection import looked_at
from duly.engine.failures import DEFAULT_WINDOW, FailureGroup, survey

app = noun(
    "What goes wrong: archived and quarantined tasks, grouped by their cause.",
    "duly failures ls\nduly failures ls --queue default --json",
)


@app.callback()
def _failures() -> None:
    """Keep `ls` a word of its own, though it is the only one."""


@app.command("ls")
def list_failures(
    context: typer.Context,
    queue: Annotated[
        list[str] | None, typer.Option(help="A queue; may be repeated. Without it: all.")
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Most tasks to look at, the newest.")
    ] = DEFAULT_WINDOW,
    as_json: Json = False,
) -> None:
    """List groups of failures, the most frequent first; each with its newest task.

    A group is of one kind, exception and place in the handler's code.
    JSON: {"groups": [{"fingerprint", "kind", "error", "count", "first", "last", "queues",
    "example"}], "scanned", "total"}
    """
    found = access_of(context).inspect(
        lambda inspector: survey(inspector, queues=tuple(queue or ()), window=window)
    )
    if as_json:
        render.as_json(found)
        return
    columns = (">count", "kind", "last", "first", "example", "~error")
    render.table(columns, map(_row, found.groups), empty="no failures")
    if found.scanned < found.total:
        typer.echo(looked_at(found.scanned, found.total, complete=False))


def _row(group: FailureGroup) -> tuple[object, ...]:
    return (
        group.count,
        group.kind or render.NOTHING,
        render.ago(group.last),
        render.ago(group.first),
        group.example.id,
        group.error or render.NOTHING,
    )
