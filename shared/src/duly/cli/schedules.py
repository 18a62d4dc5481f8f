"""`duly schedules`: what runs when, and what became of each tick."""

from collections.abc import Awaitable, Callable
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


Entry = Annotated[str, typer.Argument(help="An entry's id, as `duly schedules ls` shows it.")]


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
    entry: Entry,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Ticks at most.")] = 50,
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


@app.command("pause")
def pause_schedule(context: typer.Context, entry: Entry) -> None:
    """Let an entry's ticks pass without a task, until `resume`."""
    _operate(context, entry, "is paused", lambda inspector: inspector.pause_schedule(entry))


@app.command("resume")
def resume_schedule(context: typer.Context, entry: Entry) -> None:
    """Undo `pause`; what was due meanwhile is not caught up."""
    _operate(context, entry, "goes on", lambda inspector: inspector.resume_schedule(entry))


@app.command("trigger")
def trigger_schedule(context: typer.Context, entry: Entry) -> None:
    """Enqueue an entry's task now, beside its ticks, and print the task's id."""

    async def act(inspector: Inspector) -> None:
        typer.echo(await inspector.trigger(entry))

    _operate(context, entry, "", act)


def _operate(
    context: typer.Context,
    entry: str,
    done: str,
    operation: Callable[[Inspector], Awaitable[None]],
) -> None:
    async def act(inspector: Inspector) -> None:
        try:
            await operation(inspector)
        except NotFoundError as error:
            known = [report.id for report in await inspector.schedules()]
            raise with_suggestion(error, known) from None

    access_of(context).inspect(act)
    if done:
        typer.echo(f"entry {render.one_line(entry)} {done}")


def _row(report: EntryReport) -> tuple[object, ...]:
    return (
        report.id,
        report.queue,
        render.duration(report.interval),
        render.ago(report.next_slot),
        _last(report),
        report.enqueued,
        report.skipped,
        report.missed,
    )


def _last(report: EntryReport) -> str:
    if report.paused_since is not None:
        return f"paused {render.ago(report.paused_since)}"
    last = report.last
    return f"{last.outcome.value} {render.ago(last.slot)}" if last else render.NOTHING
