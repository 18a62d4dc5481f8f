"""`duly schedules`: inspect the timetable and its ticks; pause, resume and trigger entries."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import entries
from duly.cli.nouns import Json, noun, with_suggestion
from duly.clock import SystemClock
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import EntryReport, TickReport
from duly.errors import NotFoundError

app = noun(
    "Inspect the timetable and its ticks; pause, resume and trigger entries.",
    "duly schedules ls\nduly schedules inspect check-pending-orders\n"
    "duly schedules history check-pending-orders --limit 12\n"
    "duly schedules trigger check-pending-orders",
)


_COUNTED = ("enqueued", "skipped", "paused", "missed", "caught_up", "triggered")
_OVERDUE = timedelta(seconds=2)
Entry = Annotated[
    str,
    typer.Argument(
        autocompletion=entries, help="Id of an entry, as `duly schedules ls` prints it."
    ),
]


@app.command("ls")
def list_schedules(context: typer.Context, as_json: Json = False) -> None:
    """List the entries of the timetable.

    JSON: {"schedules": [{"id", "kind", "queue", "description", "interval", "cron", "timezone",
    "overlap", "catch_up", "next_slot", "last", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.schedules.list())
    if as_json:
        render.as_json({"schedules": reports})
        return
    columns = ("~entry", "queue", "~due", "next", "~last", ">enqueued", ">skipped", ">missed")
    render.table(columns, map(_row, reports), empty="no entries: no scheduler has announced any")


@app.command("inspect")
def inspect_schedule(context: typer.Context, entry: Entry, as_json: Json = False) -> None:
    """Show one entry and its next ticks.

    JSON: the entry, as `duly schedules ls --json` lists it.
    """

    async def ask(inspector: Inspector) -> EntryReport:
        reports = {report.id: report for report in await inspector.schedules.list()}
        if entry not in reports:
            raise with_suggestion(NotFoundError("schedule entry", entry), reports)
        return reports[entry]

    report = access_of(context).inspect(ask)
    if as_json:
        render.as_json(report)
    else:
        render.facts(_facts(report))


@app.command("history")
def show_history(
    context: typer.Context,
    entry: Entry,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most ticks to list.")] = 50,
    as_json: Json = False,
) -> None:
    """List the recorded ticks of one entry, newest first.

    JSON: {"ticks": [{"entry", "slot", "outcome", "task_id", "at"}]}
    """

    async def ask(inspector: Inspector) -> Sequence[TickReport]:
        try:
            return await inspector.schedules.ticks(entry, limit=limit)
        except NotFoundError as error:
            known = [report.id for report in await inspector.schedules.list()]
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
    render.table(("slot", "outcome", ">late", "task"), rows, empty="no ticks recorded")


@app.command("pause")
def pause_schedule(context: typer.Context, entry: Entry) -> None:
    """Pause an entry: its ticks enqueue nothing until `resume`."""
    _operate(context, entry, "paused", lambda inspector: inspector.schedules.pause(entry))


@app.command("resume")
def resume_schedule(context: typer.Context, entry: Entry) -> None:
    """Undo `pause`; ticks that were due meanwhile are not caught up."""
    _operate(context, entry, "resumed", lambda inspector: inspector.schedules.resume(entry))


@app.command("trigger")
def trigger_schedule(context: typer.Context, entry: Entry) -> None:
    """Enqueue the task of an entry now, in addition to its ticks, and print the task id.

    The history of the entry records it as triggered.
    """

    async def act(inspector: Inspector) -> None:
        typer.echo(await inspector.schedules.trigger(entry))

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
            known = [report.id for report in await inspector.schedules.list()]
            raise with_suggestion(error, known) from None

    access_of(context).inspect(act)
    if done:
        typer.echo(f"entry {render.one_line(entry)} {done}")


def _row(report: EntryReport) -> tuple[object, ...]:
    return (
        report.id,
        report.queue,
        report.description,
        _next(report),
        _last(report),
        report.enqueued,
        report.skipped,
        report.missed,
    )


def _facts(report: EntryReport) -> list[tuple[str, object]]:
    due = "\n".join(map(render.clock_time, report.next_slots))
    return [
        ("entry", report.id),
        ("job", f"{report.kind} {render.compact(report.payload)}"),
        ("queue", report.queue),
        ("due", report.description),
        ("cron", f"{report.cron} in {report.timezone}" if report.cron else render.NOTHING),
        ("next", _next(report)),
        ("next five", f"\n{due}"),
        ("overlap", report.overlap),
        ("catch up", report.catch_up),
        ("last", _last(report)),
        *((name.replace("_", " "), getattr(report, name)) for name in _COUNTED),
    ]


def _next(report: EntryReport) -> str:
    late = SystemClock().now() - report.next_slot
    return (
        f"overdue by {render.duration(late)}" if late > _OVERDUE else render.ago(report.next_slot)
    )


def _last(report: EntryReport) -> str:
    if report.held:
        return "paused in the timetable"
    if report.paused_since is not None:
        return f"paused {render.ago(report.paused_since)}"
    last = report.last
    return f"{last.outcome.value} {render.ago(last.slot)}" if last else render.NOTHING
