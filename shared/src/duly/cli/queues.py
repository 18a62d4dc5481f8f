"""`duly queues`: how each queue does; pause and resume them."""

from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspector import Inspector
from duly.engine.reports import MinuteReport, QueueReport
from duly.errors import NotFoundError

app = noun(
    "How each queue does; pause and resume them.",
    "duly queues ls\nduly queues inspect default --json\nduly queues pause low",
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

    JSON: {"queues": [...]}, each as in `duly queues ls --json`.
    """

    async def ask(inspector: Inspector) -> list[QueueReport]:
        if not names:
            return await inspector.queues()
        return [await _find(inspector, name) for name in names]

    reports = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"queues": reports})
        return
    for place, report in enumerate(reports):
        if place:
            typer.echo()
        render.facts(_facts(report))


@app.command("history")
def show_history(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A queue.")],
    minutes: Annotated[int, typer.Option(min=1, max=4320, help="How far back.")] = 60,
    as_json: Json = False,
) -> None:
    """Show what a queue did in each of the last minutes, oldest first.

    JSON: {"minutes": [{"at", "processed", "failed"}]}
    """

    async def ask(inspector: Inspector) -> list[MinuteReport]:
        await _find(inspector, name)
        return await inspector.minutes(name, count=minutes)

    reports = access_of(context).inspect(ask)
    if as_json:
        render.as_json({"minutes": reports})
        return
    rows = ((render.clock_time(each.at), each.processed, each.failed) for each in reports)
    render.table(("minute", ">processed", ">failed"), rows, empty="nothing is recorded")


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


def _facts(report: QueueReport) -> list[tuple[str, object]]:
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
        ("processed", f"{report.processed} ({report.processed_per_minute} in the last minute)"),
        ("failed", f"{report.failed} ({report.failed_per_minute} in the last minute)"),
        ("crashed", report.crashed),
        ("servers", f"{report.servers} ({report.concurrency} tasks at once)"),
    ]
