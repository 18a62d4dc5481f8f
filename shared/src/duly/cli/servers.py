"""`duly servers`: inspect the workers; quiet, resume and stop them."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.completion import servers
from duly.cli.nouns import Json, noun, with_suggestion
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import ServerReport
from duly.errors import NotFoundError

app = noun(
    "Inspect the workers; quiet, resume and stop them.",
    "duly servers ls\nduly servers quiet worker-7f9c:1:a1b2c3\nduly servers stop worker-9:1:0d1e2f",
)
Ids = Annotated[
    list[str],
    typer.Argument(autocompletion=servers, help="Server ids, as `duly servers ls` prints them."),
]


@app.command("ls")
def list_servers(context: typer.Context, as_json: Json = False) -> None:
    """List every worker process, including lost ones.

    JSON: {"servers": [{"id", "host", "pid", "queues", "concurrency", "status", "running", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.servers.list())
    if as_json:
        render.as_json({"servers": reports})
        return
    columns = ("~server", "status", ">running", "~queues", "uptime", "heartbeat")
    render.table(columns, map(_row, reports), empty="no workers")


@app.command("quiet")
def quiet_servers(context: typer.Context, ids: Ids) -> None:
    """Stop workers from taking tasks; their running tasks finish. `resume` undoes it."""
    _signal(
        context,
        ids,
        lambda inspector, server: inspector.servers.quiet(server),
        "quieted: it takes no more tasks",
    )


@app.command("resume")
@app.command("wake", hidden=True)
def resume_servers(context: typer.Context, ids: Ids) -> None:
    """Undo `quiet`: workers take tasks again."""
    _signal(
        context,
        ids,
        lambda inspector, server: inspector.servers.resume(server),
        "resumed",
    )


@app.command("stop")
def stop_servers(context: typer.Context, ids: Ids) -> None:
    """Drain workers and let them exit with 0, as on SIGTERM. Kubernetes then starts new ones."""
    _signal(context, ids, lambda inspector, server: inspector.servers.stop(server), "is stopping")


def _signal(
    context: typer.Context,
    ids: list[str],
    act: Callable[[Inspector, str], Awaitable[None]],
    words: str,
) -> None:
    async def signal(inspector: Inspector) -> None:
        for server in ids:
            try:
                await act(inspector, server)
            except NotFoundError as error:
                known = [report.id for report in await inspector.servers.list()]
                raise with_suggestion(error, known) from None
            typer.echo(f"server {render.one_line(server)} {words}")

    access_of(context).inspect(signal)


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
