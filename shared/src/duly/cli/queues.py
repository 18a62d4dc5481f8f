"""`duly queues`: inspect queues and their history; pause, resume and remove them."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import queues as queue_names
from duly.cli.consent import Yes, consent
from duly.cli.drained import check_drained
from duly.cli.nouns import Json, MisuseError, fail_unreadable, noun, with_suggestion
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import DayReport, LockPage, MinuteReport, QueueReport
from duly.errors import NotFoundError
from duly.plurals import plural

app = noun(
    "Inspect queues and their history; pause, resume and remove them.",
    "duly queues ls\n"
    "duly queues inspect default --json\n"
    "duly queues history default low --days 10\n"
    "duly queues pause low\n"
    "duly queues drained low --wait 5m\n"
    "duly queues rm old --force",
)
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", autocompletion=queue_names, help="Names of queues."),
]


@app.command("ls")
def list_queues(context: typer.Context, as_json: Json = False) -> None:
    """List every queue with its counts.

    JSON: {"queues": [{"name", "waiting", "active", "scheduled", "retry", "archived", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.queues.list())
    if as_json:
        render.as_json({"queues": reports})
        fail_unreadable(report.error for report in reports)
        return
    columns = (
        "~queue", ">waiting", ">active", ">scheduled", ">retry", ">archived",
        ">done\n/min", ">failed\n/min", ">oldest", "servers",
    )  # fmt: skip
    render.table(columns, map(_row, reports), empty="no queues: nothing has been enqueued yet")
    fail_unreadable(report.error for report in reports)


@app.command("inspect")
def inspect_queues(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", autocompletion=queue_names, help="Names of queues; default: all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show all counts of queues, with an estimate of their memory.

    The history by minute and day is not part of the memory. JSON: {"queues": [...]}, each as in
    `duly queues ls --json`, and "memory_bytes" (null: the broker's user may not ask).
    """

    async def ask(inspector: Inspector) -> list[tuple[QueueReport, dict[str, int | None]]]:
        reports = (
            [await _find(inspector, name) for name in names]
            if names
            else await inspector.queues.list()
        )
        return [
            (report, {"memory_bytes": await inspector.queues.memory(report.name)})
            for report in reports
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
        int | None, typer.Option(min=1, max=4320, help="Number of minutes; default: 60.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=90, help="Number of days (UTC), instead of minutes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the throughput of queues by minute or by day, oldest first.

    JSON: {"minutes": [{"queue", "at", "processed", "failed"}]}, or
    {"days": [{"queue", "at", "processed", "failed", "crashed"}]}
    """
    if minutes and days:
        raise MisuseError("--minutes and --days cannot be combined: use one of them")

    async def ask(inspector: Inspector) -> list[tuple[str, MinuteReport | DayReport]]:
        found: list[tuple[str, MinuteReport | DayReport]] = []
        for name in names:
            await _find(inspector, name)
            if days:
                found += [(name, day) for day in await inspector.queues.days(name, count=days)]
            else:
                count = minutes or 60
                found += [
                    (name, each) for each in await inspector.queues.minutes(name, count=count)
                ]
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
        empty="nothing recorded",
    )


@app.command("locks")
def list_locks(
    context: typer.Context,
    name: Annotated[str, typer.Argument(autocompletion=queue_names, help="A queue.")],
    as_json: Json = False,
) -> None:
    """List the unique locks that tasks of a queue hold, by expiry.

    JSON: {"locks": [{"digest", "task_id", "expires_at"}], "complete"}
    """

    async def ask(inspector: Inspector) -> LockPage:
        await _find(inspector, name)
        return await inspector.locks.list(name)

    page = access_of(context).inspect(ask)
    if as_json:
        render.as_json(page)
        return
    rows = ((lock.task_id, render.clock_time(lock.expires_at), lock.digest) for lock in page.locks)
    render.table(("task", "until", "~lock"), rows, empty="no unique locks")
    if not page.complete:
        typer.echo("more locks exist: the list is limited")


@app.command("pause")
def pause_queues(
    context: typer.Context,
    names: Names,
    reason: Annotated[str, typer.Option(help="Why, for those who see it paused.")] = "",
) -> None:
    """Stop workers from taking tasks of these queues; running tasks finish."""

    async def act(inspector: Inspector) -> None:
        for name in names:
            await _find(inspector, name)
            await inspector.queues.pause(name, reason=reason)
            typer.echo(f"queue {render.one_line(name)} paused")

    access_of(context).inspect(act)


@app.command("resume")
def resume_queues(context: typer.Context, names: Names) -> None:
    """Undo `pause`: workers take tasks of these queues again."""

    async def act(inspector: Inspector) -> None:
        for name in names:
            await _find(inspector, name)
            await inspector.queues.resume(name)
            typer.echo(f"queue {render.one_line(name)} resumed")

    access_of(context).inspect(act)


app.command("drained")(check_drained)


@app.command("rm")
def remove_queues(
    context: typer.Context,
    names: Names,
    force: Annotated[
        bool, typer.Option("--force", help="Remove queues that hold tasks, with their tasks.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove queues that no worker serves, with their counters and schedule entries."""

    async def look(inspector: Inspector) -> int:
        reports = [await _find(inspector, name) for name in names]
        return sum(report.held for report in reports)

    access = access_of(context)
    held = access.inspect(look)
    what = ", ".join(map(render.one_line, names))
    consent(f"Remove {what} and {plural(held, 'task')}?", yes=yes)

    async def act(inspector: Inspector) -> None:
        for name in names:
            gone = await inspector.queues.remove(name, force=force)
            typer.echo(f"queue {render.one_line(name)} removed, with {plural(gone, 'task')}")

    access.inspect(act)


async def _find(inspector: Inspector, name: str) -> QueueReport:
    try:
        return await inspector.queues.get(name)
    except NotFoundError as error:
        known = [report.name for report in await inspector.queues.list()]
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
        _status(report),
    )


def _status(report: QueueReport) -> object:
    if report.error:
        return "unreadable"
    return "paused" if report.paused_since else report.servers or "none"


def _history(report: MinuteReport | DayReport) -> tuple[object, ...]:
    if isinstance(report, DayReport):
        return (f"{report.at:%Y-%m-%d}", report.processed, report.failed, report.crashed)
    return (render.clock_time(report.at), report.processed, report.failed)


def _facts(report: QueueReport, memory: int | None) -> list[tuple[str, object]]:
    paused = f"since {render.clock_time(report.paused_since)}" if report.paused_since else "no"
    paused += f": {render.one_line(report.pause_reason)}" if report.pause_reason else ""
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
        ("servers", f"{report.servers} ({report.concurrency} slots)"),
    ]


def _rates(minute: int, today: int) -> str:
    return f"{today} today, {minute} in the last minute"
