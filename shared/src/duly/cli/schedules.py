"""`duly schedules`: what runs when, and what became of each tick."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspector import Inspector
from duly.engine.reports import EntryReport, TickReport
from duly.errors import NotFoundError

app = noun(
    "What runs when, and what became of each tick.",
    "duly schedules ls\nduly schedules history check-pending-orders --limit 12",
)


@app.command("ls")
def list_schedules(context: typer.Context, as_json: Json = False) -> None:
    """List the entries of the timetable.

    JSON: {"schedules": [{"id", "kind", "queue", "interval", "overlap", "next_slot", "last", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.schedules())
    if as_json:
        render.as_json({"schedules": reports})
        return
    columns = ("~entry", "queue", ">every", "next", "~last", ">enqueued", ">skipped", ">missed")
    render.table(columns, map(_row, reports), empty="no entries: no scheduler has run yet")


@app.command("history")
def show_history(
    context: typer.Context,
    entry: Annotated[str, typer.Argument(help="An entry's id, as `duly schedules ls` shows it.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Ticks at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List the recorded ticks of one entry, newest first.

    JSON: {"ticks": [{"entry", "slot", "outcome", "task_id", "at"}]}
    """

    async def ask(inspector: Inspector) -> list[TickReport]:
        try:
            return await inspector.ticks(entry, limit=limit)
        except NotFoundError as error:
            known = [report.id for report in await inspector.schedules()]
            raise with_suggestion(error, known) from None

    ticks = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"ticks": ticks})
        return
    rows = (
        (render.clock_time(tick.slot), tick.outcome.value, render.duration(tick.at - tick.slot),
         tick.task_id or render.NOTHING)
        for tick in ticks
    )  # fmt: skip
    render.table(("slot", "outcome", ">late", "task"), rows, empty="no tick is recorded")


def _row(report: EntryReport) -> tuple[object, ...]:
    last = report.last
    return (
        report.id,
        report.queue,
        render.duration(report.interval),
        render.ago(report.next_slot),
        f"{last.outcome.value} {render.ago(last.slot)}" if last else render.NOTHING,
        report.enqueued,
        report.skipped,
        report.missed,
    )
