"""`duly joins`: inspect and cancel tasks that wait for all members of a flow's group."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import queues as queue_names
from duly.cli.consent import Yes, consent
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import JoinReport
from duly.errors import NotFoundError

app = noun(
    "Inspect and cancel tasks that wait for all members of a flow's group to succeed.",
    "duly joins ls\nduly joins ls default --json\nduly joins cancel default 01JZ….2",
)


@app.command("ls")
def list_joins(
    context: typer.Context,
    queue: Annotated[
        str | None,
        typer.Argument(
            metavar="QUEUE", autocompletion=queue_names, help="Name of a queue; default: all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List joins and the members that have not succeeded yet, at most a thousand per queue.

    Members are counted from 0. JSON: {"joins": [{"id", "queue", "since", "members", "awaited",
    "task_id", "kind"}]}
    """

    async def ask(inspector: Inspector) -> list[JoinReport]:
        known = [report.name for report in await inspector.queues.list()]
        try:
            names = known if queue is None else [queue]
            return [join for name in names for join in await inspector.joins.list(name)]
        except NotFoundError as error:
            raise with_suggestion(error, known) from None

    joins = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"joins": joins})
        return
    columns = ("queue", "join", "since", ">members", ">left", "then")
    render.table(columns, map(_row, joins), empty="no joins")


@app.command("cancel")
def cancel_join(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(autocompletion=queue_names, help="Queue of the join.")],
    join: Annotated[str, typer.Argument(help="Id of the join, as `duly joins ls` prints it.")],
    yes: Yes = False,
) -> None:
    """Cancel the task that was to follow: the members still run, and nothing follows them."""
    access = access_of(context)
    shown = render.one_line(join)
    consent(f"Cancel the task that follows join {shown}?", yes=yes)

    async def act(inspector: Inspector) -> None:
        try:
            await inspector.joins.cancel(queue, join)
        except NotFoundError as error:
            if error.name != join:
                raise
            known = [report.id for report in await inspector.joins.list(queue)]
            raise with_suggestion(error, known) from None

    access.inspect(act)
    typer.echo(f"join {shown} cancelled: nothing follows its members")


def _row(report: JoinReport) -> tuple[object, ...]:
    return (
        report.queue,
        report.id,
        render.ago(report.since),
        report.members,
        len(report.awaited),
        report.kind or render.NOTHING,
    )
