"""`duly servers`: which workers live, and what they run."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspector import Inspector
from duly.engine.reports import ServerReport
from duly.errors import NotFoundError

app = noun(
    "Which workers live, and what they run; keep one from taking tasks, or stop it.",
    "duly servers ls\nduly servers quiet worker-7f9c:1:a1b2c3\nduly servers stop worker-9:1:0d1e2f",
)
Ids = Annotated[list[str], typer.Argument(help="Servers, as `duly servers ls` names them.")]


@app.command("ls")
def list_servers(context: typer.Context, as_json: Json = False) -> None:
    """List every worker process, the lost ones included.

    JSON: {"servers": [{"id", "host", "pid", "queues", "concurrency", "status", "running", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.servers())
    if as_json:
        render.as_json({"servers": reports})
        return
    columns = ("~server", "status", ">running", "~queues", "up for", "heard")
    render.table(columns, map(_row, reports), empty="no workers")


@app.command("quiet")
def quiet_servers(context: typer.Context, ids: Ids) -> None:
    """Have workers take no more tasks; what they run goes on to its end."""
    _tell(context, ids, lambda inspector, server: inspector.quiet(server), "takes no more tasks")


@app.command("wake")
def wake_servers(context: typer.Context, ids: Ids) -> None:
    """Let workers that were made quiet take tasks again."""
    _tell(context, ids, lambda inspector, server: inspector.wake(server), "takes tasks again")


@app.command("stop")
def stop_servers(context: typer.Context, ids: Ids) -> None:
    """Have workers drain and exit with 0, as on SIGTERM. Kubernetes starts others instead."""
    _tell(context, ids, lambda inspector, server: inspector.stop(server), "is told to stop")


def _tell(
    context: typer.Context,
    ids: list[str],
    act: Callable[[Inspector, str], Awaitable[None]],
    words: str,
) -> None:
    async def tell(inspector: Inspector) -> None:
        for server in ids:
            try:
                await act(inspector, server)
            except NotFoundError as error:
                known = [report.id for report in await inspector.servers()]
                raise with_suggestion(error, known) from None
            typer.echo(f"server {render.one_line(server)} {words}")

    access_of(context).inspect(tell)


def _row(report: ServerReport) -> tuple[object, ...]:
    stuck = sum(task.stuck for task in report.running)
    return (
        report.id,
        report.status.value,
        f"{len(report.running)}/{report.concurrency}" + (f" ({stuck} stuck)" if stuck else ""),
        ", ".join(
            name if weight == 1 else f"{name}={weight}" for name, weight in report.queues.items()
        ),
        render.duration(report.beat_at - report.started_at),
        render.ago(report.beat_at),
    )
