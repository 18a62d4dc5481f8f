"""`duly queues`: how each queue does and did; pause, resume and remove them."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.consent import Yes, consent
from duly.cli.nouns import Json, MisuseError, noun, with_suggestion
from duly.engine.inspector import Inspector
from duly.engine.reports import DayReport, LockPage, MinuteReport, QueueReport
from duly.errors import NotFoundError

app = noun(
    "How each queue does and did; pause, resume and remove them.",
    "duly queues ls\n"
    "duly queues inspect default --json\n"
    "duly queues history default low --days 10\n"
    "duly queues pause low\n"
    "duly queues rm old --force",
)
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Queues.")]


@app.command("ls")
def list_queues(context: typer.Context, as_json: Json = False) -> None:
    """List every queue with its counts.

    JSON: {"queues": [{"name", "waiting", "active", "scheduled", "retry", "archived", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.queues())
    if as_json:
        render.as_json({"queues": reports})
        return
    columns = (
        "~queue", ">waiting", ">active", ">scheduled", ">retry", ">archived",
        ">done\n/min", ">failed\n/min", ">oldest", "servers",
    )  # fmt: skip
    render.table(columns, map(_row, reports), empty="no queues yet: nothing was enqueued")


@app.command("inspect")
def inspect_queues(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Queues; none: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show everything known of queues.

    Memory is weighed by a sample, without the history. JSON: {"queues": [...]}, each as in
    `duly queues ls --json`, and "memory_bytes" (null: the broker's user may not ask).
    """

    async def ask(inspector: Inspector) -> list[tuple[QueueReport, dict[str, int | None]]]:
        reports = (
            [await _find(inspector, name) for name in names] if names else await inspector.queues()
        )
        return [
            (report, {"memory_bytes": await inspector.memory(report.name)}) for report in reports
        ]

    details = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"queues": [render.plain(report) | sizes for report, sizes in details]})
        return
    for place, (report, sizes) in enumerate(details):
        if place:
            typer.echo()
        render.facts(_facts(report, sizes["memory_bytes"]))


@app.command("history")
def show_history(
    context: typer.Context,
    names: Names,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=4320, help="So many minutes back; 60 by default.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=90, help="So many days of UTC back instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what queues did in each of the last minutes, or days, oldest first.

    JSON: {"minutes": [{"queue", "at", "processed", "failed"}]}, or
    {"days": [{"queue", "at", "processed", "failed", "crashed"}]}
    """
    if minutes and days:
        raise MisuseError("--minutes and --days exclude each other: give one of them")

    async def ask(inspector: Inspector) -> list[tuple[str, MinuteReport | DayReport]]:
        found: list[tuple[str, MinuteReport | DayReport]] = []
        for name in names:
            await _find(inspector, name)
            if days:
                found += [(name, day) for day in await inspector.days(name, count=days)]
            else:
                count = minutes or 60
                found += [(name, each) for each in await inspector.minutes(name, count=count)]
        return found

    reports = access_of(context).inspect(ask)
    if as_json:
        rows = [{"queue": name} | render.plain(report) for name, report in reports]
        render.as_json({"days" if days else "minutes": rows})
        return
    columns = ("day" if days else "minute", ">processed", ">failed")
    render.table(
        (*(("queue",) if len(names) > 1 else ()), *columns, *((">crashed",) if days else ())),
        [(*((name,) if len(names) > 1 else ()), *_history(report)) for name, report in reports],
        empty="nothing is recorded",
    )


@app.command("locks")
def list_locks(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A queue.")],
    as_json: Json = False,
) -> None:
    """List the unique locks that tasks of a queue hold, those that end first first.

    JSON: {"locks": [{"digest", "task_id", "expires_at"}], "complete"}
    """

    async def ask(inspector: Inspector) -> LockPage:
        await _find(inspector, name)
        return await inspector.locks(name)

    page = access_of(context).inspect(ask)
    if as_json:
        render.as_json(page)
        return
    rows = ((lock.task_id, render.clock_time(lock.expires_at), lock.digest) for lock in page.locks)
    render.table(("task", "until", "~lock"), rows, empty="no task holds a unique lock")
    if not page.complete:
        typer.echo("there are more")


@app.command("pause")
def pause_queues(context: typer.Context, names: Names) -> None:
    """Stop workers from taking tasks of these queues; running tasks end."""

    async def act(inspector: Inspector) -> None:
        for name in names:
            await _find(inspector, name)
            await inspector.pause(name)
            typer.echo(f"queue {render.one_line(name)} is paused")

    access_of(context).inspect(act)


@app.command("resume")
def resume_queues(context: typer.Context, names: Names) -> None:
    """Let workers take tasks of these queues again."""

    async def act(inspector: Inspector) -> None:
        for name in names:
            await _find(inspector, name)
            await inspector.resume(name)
            typer.echo(f"queue {render.one_line(name)} is running")

    access_of(context).inspect(act)


@app.command("rm")
def remove_queues(
    context: typer.Context,
    names: Names,
    force: Annotated[
        bool, typer.Option("--force", help="Even if they hold tasks; these go with them.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove queues that no worker serves, with their counts and schedules."""

    async def look(inspector: Inspector) -> int:
        reports = [await _find(inspector, name) for name in names]
        return sum(report.held for report in reports)

    access = access_of(context)
    held = access.inspect(look)
    what = ", ".join(map(render.one_line, names))
    consent(f"Remove {what} with {held} tasks?", yes=yes)

    async def act(inspector: Inspector) -> None:
        for name in names:
            gone = await inspector.remove(name, force=force)
            typer.echo(f"queue {render.one_line(name)} is removed, with {gone} tasks")

    access.inspect(act)


async def _find(inspector: Inspector, name: str) -> QueueReport:
    try:
        return await inspector.queue(name)
    except NotFoundError as error:
        known = [report.name for report in await inspector.queues()]
        raise with_suggestion(error, known) from None


def _row(report: QueueReport) -> tuple[object, ...]:
    return (
        report.name,
        report.waiting,
        report.active,
        report.scheduled,
        report.retry,
        report.archived,
        report.processed_per_minute,
        report.failed_per_minute,
        render.duration(report.oldest_waiting),
        "paused" if report.paused_since else report.servers or "none",
    )


def _history(report: MinuteReport | DayReport) -> tuple[object, ...]:
    if isinstance(report, DayReport):
        return (f"{report.at:%Y-%m-%d}", report.processed, report.failed, report.crashed)
    return (render.clock_time(report.at), report.processed, report.failed)


def _facts(report: QueueReport, memory: int | None) -> list[tuple[str, object]]:
    paused = f"since {render.clock_time(report.paused_since)}" if report.paused_since else "no"
    return [
        ("queue", report.name),
        ("paused", paused),
        ("waiting", report.waiting),
        ("oldest waiting", render.duration(report.oldest_waiting)),
        ("active", report.active),
        ("scheduled", report.scheduled),
        ("retry", report.retry),
        ("archived", f"{report.archived} ({report.archive_dropped} dropped by its bounds)"),
        ("completed", report.completed),
        ("quarantined", report.quarantined),
        ("aggregating", report.aggregating),
        (
            "processed",
            f"{report.processed} ({_rates(report.processed_per_minute, report.processed_today)})",
        ),
        ("failed", f"{report.failed} ({_rates(report.failed_per_minute, report.failed_today)})"),
        ("crashed", report.crashed),
        ("memory", render.size(memory)),
        ("servers", f"{report.servers} ({report.concurrency} tasks at once)"),
    ]


def _rates(minute: int, today: int) -> str:
    return f"{today} today, {minute} in the last minute"
