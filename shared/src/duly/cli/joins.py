"""`duly joins`: tasks that wait for all members of a group of a flow to succeed."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.consent import Yes, consent
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspector import Inspector
from duly.engine.reports import JoinReport
from duly.errors import NotFoundError

app = noun(
    "Tasks that wait for all members of a flow's group to succeed; give one up.",
    "duly joins ls\nduly joins ls default --json\nduly joins cancel default 01JZ….2",
)


@app.command("ls")
def list_joins(
    context: typer.Context,
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="A queue; none: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List them, a thousand of a queue at most, with the members that have not succeeded yet.

    Members are counted from 0. JSON: {"joins": [{"id", "queue", "since", "members", "awaited",
    "task_id", "kind"}]}
    """

    async def ask(inspector: Inspector) -> list[JoinReport]:
        known = [report.name for report in await inspector.queues()]
        try:
            names = known if queue is None else [queue]
            return [join for name in names for join in await inspector.joins(name)]
        except NotFoundError as error:
            raise with_suggestion(error, known) from None

    joins = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"joins": joins})
        return
    columns = ("queue", "join", "since", ">members", ">left", "then")
    render.table(columns, map(_row, joins), empty="no task waits for others")


@app.command("cancel")
def cancel_join(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(help="Its queue.")],
    join: Annotated[str, typer.Argument(help="A join, as `duly joins ls` names it.")],
    yes: Yes = False,
) -> None:
    """Give up what was to follow: the members go on, and nothing comes after them."""
    access = access_of(context)
    shown = render.one_line(join)
    consent(f"Give up what follows join {shown}?", yes=yes)

    async def act(inspector: Inspector) -> None:
        try:
            await inspector.cancel_join(queue, join)
        except NotFoundError as error:
            if error.name != join:
                raise
            known = [report.id for report in await inspector.joins(queue)]
            raise with_suggestion(error, known) from None

    access.inspect(act)
    typer.echo(f"join {shown} is given up: nothing follows its members")


def _row(report: JoinReport) -> tuple[object, ...]:
    return (
        report.queue,
        report.id,
        render.ago(report.since),
        report.members,
        len(report.awaited),
        report.kind or render.NOTHING,
    )
