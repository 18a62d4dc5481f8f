"""`duly servers`: which workers live, and what they run."""

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, noun
from duly.engine.reports import ServerReport

app = noun("Which workers live, and what they run.", "duly servers ls\nduly servers ls --json")


@app.callback()
def _servers() -> None:
    """Keep `ls` a word of its own, though it is the only one."""


@app.command("ls")
def list_servers(context: typer.Context, as_json: Json = False) -> None:
    """List every worker process, the lost ones included.

    JSON: {"servers": [{"id", "host", "pid", "queues", "concurrency", "status", "running", …}]}
    """
    reports = access_of(context).inspect(lambda inspector: inspector.servers())
    if as_json:
        render.as_json({"servers": reports})
        return
    columns = ("~host", ">pid", "status", ">running", "~queues", "up for", "heard")
    render.table(columns, map(_row, reports), empty="no workers")


def _row(report: ServerReport) -> tuple[object, ...]:
    stuck = sum(task.stuck for task in report.running)
    return (
        report.host,
        report.pid,
        report.status.value,
        f"{len(report.running)}/{report.concurrency}" + (f" ({stuck} stuck)" if stuck else ""),
        ", ".join(
            name if weight == 1 else f"{name}={weight}" for name, weight in report.queues.items()
        ),
        render.duration(report.beat_at - report.started_at),
        render.ago(report.beat_at),
    )
