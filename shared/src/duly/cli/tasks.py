"""`duly tasks`: list, find, look at, enqueue and put right tasks."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from duly.cli import operations, render, reruns
from duly.cli.access import access_of
from duly.cli.groups import find_group
from duly.cli.nouns import Json, MisuseError, did_you_mean, duration_of, noun, state_of
from duly.cli.operations import Queue
from duly.cli.payload import job_from
from duly.cli.selection import (
    After,
    Before,
    Error,
    Kind,
    Payload,
    Selection,
    States,
    Window,
    instant_of,
    looked_at,
)
from duly.clock import SystemClock
from duly.engine.client import Client
from duly.engine.inspector import Inspector
from duly.engine.reports import TaskPage
from duly.engine.search import DEFAULT_WINDOW, SEARCHED, search
from duly.errors import DulyError
from duly.task import Attempt, Task, TaskState

app = noun(
    "List, find, look at, enqueue and put right tasks.",
    "duly tasks ls default --state archived\n"
    "duly tasks inspect 01JZ…\n"
    "duly tasks enqueue check_pending_orders --delay 30s\n"
    "duly tasks ls default --state aggregating --group ada\n"
    "duly tasks run 01JZ… --queue default\n"
    "duly tasks search --error timeout --after 2h\n"
    "duly tasks run --queue default --state archived --kind send_invoice --dry-run\n"
    "duly tasks delete --state completed --before 7d --yes",
)


@app.command("ls")
def list_tasks(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(help="A queue.")],
    *,
    state: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(TaskState)}; else: waiting.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Only those that wait in it: KIND:NAME or NAME.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Tasks in a page.")] = 30,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first.")] = False,
    as_json: Json = False,
) -> None:
    """List tasks of one queue in one state, newest first.

    JSON: {"tasks": [{"id", "kind", "state", "payload", "attempts", "history", …}], "next_cursor"}
    """
    wanted = state_of(state or (TaskState.AGGREGATING if group else TaskState.WAITING))
    if group is not None and wanted is not TaskState.AGGREGATING:
        raise MisuseError(f"--group: a task that is {wanted.value} waits in no group")

    async def ask(inspector: Inspector) -> TaskPage:
        known = [report.name for report in await inspector.queues()]
        if queue not in known:
            raise DulyError(f"no queue {queue!r}{did_you_mean(queue, known)}")
        if group is None:
            return await inspector.tasks(
                queue, wanted, limit=limit, cursor=cursor, newest=not oldest
            )
        found = await find_group(inspector, queue, group)
        return await inspector.group_tasks(
            queue, found.kind, found.name, limit=limit, cursor=cursor, newest=not oldest
        )

    try:
        page = access_of(context).inspect(ask)
    except ValueError as error:
        raise MisuseError(f"--cursor: {error}") from None
    if as_json:
        render.as_json(page)
        return
    rows = ((task.id, task.kind, _attempts(task), _when(task), _gist(task)) for task in page.tasks)
    columns = ("id", "kind", ">attempts", "when", "~why")
    render.table(columns, rows, empty=f"no {wanted.value} tasks in queue {render.one_line(queue)}")
    if page.next_cursor:
        typer.echo(f"more: --cursor {page.next_cursor}")


@app.command("search")
def search_tasks(
    context: typer.Context,
    queues: Annotated[
        list[str] | None, typer.Argument(metavar="[QUEUE...]", help="Queues; none: all.")
    ] = None,
    *,
    state: States = None,
    kind: Kind = "",
    error: Error = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most tasks to show.")] = 100,
    window: Window = DEFAULT_WINDOW,
    as_json: Json = False,
) -> None:
    """Find tasks by what they are, in every state unless some are named, the newest of each first.

    JSON: {"tasks": [...], "scanned", "total", "complete"}; not complete: there may be more.
    """
    chosen = Selection(
        queues=tuple(queues or ()), states=tuple(state or ()), kind=kind, error=error,
        payload=tuple(payload or ()), after=after, before=before,
    )  # fmt: skip
    query = chosen.query(SEARCHED)
    found = access_of(context).inspect(
        lambda inspector: search(inspector, query, limit=limit, window=window)
    )
    if as_json:
        render.as_json(found)
        return
    rows = (
        (task.id, task.queue, task.state.value, task.kind, _when(task), _gist(task))
        for task in found.tasks
    )
    render.table(("id", "queue", "state", "kind", "when", "~why"), rows, empty="nothing matches")
    typer.echo(looked_at(found.scanned, found.total, complete=found.complete))


@app.command("inspect")
def inspect_task(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="A task id.")],
    queue: Queue = None,
    as_json: Json = False,
) -> None:
    """Show one task with its payload, its attempts and their tracebacks.

    JSON: {"id", "queue", "kind", "state", "payload", "attempts", "history": [{"number", …}], …}
    """
    task = access_of(context).inspect(lambda inspector: _find(inspector, queue, task_id))
    if as_json:
        render.as_json(task)
        return
    render.facts(_facts(task))
    for attempt in task.history:
        typer.echo()
        render.facts(_attempt_facts(attempt))


@app.command("enqueue")
def enqueue_task(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="A kind of job, such as check_pending_orders.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIELD=VALUE...]", help="The payload; values are JSON or text."),
    ] = None,
    *,
    payload: Annotated[str | None, typer.Option(help="The payload as a JSON object.")] = None,
    queue: Annotated[str | None, typer.Option(help="Instead of the kind's own queue.")] = None,
    delay: Annotated[str | None, typer.Option(help="Run it so much later: 30s, 5m.")] = None,
    task_id: Annotated[str | None, typer.Option("--id", help="Unique in its queue.")] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Runs in all, then it is archived.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="Longest run of one attempt: 5m.")] = None,
    unique_for: Annotated[
        str | None, typer.Option(help="Refuse its like for so long, or until it ends: 1h.")
    ] = None,
    due: Annotated[
        str | None, typer.Option(metavar="TIME", help="Run it then: 2026-01-31T12:00.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="TIME", help="No attempt after it: a time, or 2h.")
    ] = None,
    retention: Annotated[
        str | None, typer.Option(help="Keep it with its result for so long: 1d.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Let it wait for others of its kind, to be merged with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enqueue one job and print the task's id.

    JSON: the task, as `duly tasks inspect --json` shows it.
    """
    job = job_from(kind, fields or [], payload)
    if delay and due:
        raise MisuseError("--delay and --due exclude each other: give one of them")

    async def act(client: Client) -> Task:
        return await client.enqueue(
            job,
            queue=queue,
            task_id=task_id,
            delay=_duration(delay),
            max_attempts=max_attempts,
            timeout=_duration(timeout),
            unique_for=_duration(unique_for),
            due=_instant("--due", due),
            deadline=_instant("--deadline", deadline),
            retention=_duration(retention),
            headers=dict(map(_header, header)) if header else None,
            group=group,
        )

    try:
        task = access_of(context).produce(act)
    except ValueError as error:
        if group is None:
            raise
        raise MisuseError(f"--{error}") from None
    if as_json:
        render.as_json(task)
        return
    typer.echo(f"{task.id}  {task.kind}  {task.state.value} in queue {task.queue}")


app.command("run")(operations.run_tasks)
app.command("rerun")(reruns.rerun_task)
app.command("edit")(reruns.edit_task)
app.command("archive")(operations.archive_tasks)
app.command("delete")(operations.delete_tasks)
app.command("cancel")(operations.cancel_tasks)


async def _find(inspector: Inspector, queue: str | None, task_id: str) -> Task:
    return await (inspector.task(queue, task_id) if queue else inspector.find(task_id))


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else duration_of(text)


def _instant(option: str, text: str | None) -> datetime | None:
    return None if text is None else instant_of(text, SystemClock().now(), option, sign=1)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MisuseError(f"--header: {text!r} is not NAME=VALUE")
    return name, value


def _attempts(task: Task) -> str:
    return f"{task.attempts}/{task.max_attempts}" if task.max_attempts else str(task.attempts)


def _when(task: Task) -> str:
    instant = task.ended_at or task.due_at or task.enqueued_at
    return render.ago(instant)


def _gist(task: Task) -> str:
    """Return the last error, else who runs it, else nothing."""
    return (task.history[0].error if task.history else task.server) or render.NOTHING


def _facts(task: Task) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("task", task.id),
        ("kind", task.kind),
        ("queue", task.queue),
        ("state", task.state.value),
        ("attempts", _attempts(task)),
        ("crashes", task.crashes),
        ("enqueued", render.clock_time(task.enqueued_at)),
        ("due", render.clock_time(task.due_at)),
        ("ended", render.clock_time(task.ended_at)),
        ("server", task.server or render.NOTHING),
        ("payload", render.compact(task.payload)),
    ]
    if task.progress is not None:
        done = f"{task.progress.fraction:.0%} {task.progress.note}"
        rows.insert(-1, ("progress", done.rstrip()))
    if task.labels:
        rows.append(("labels", render.compact(task.labels)))
    if task.result is not None:
        rows.append(("result", render.compact(task.result)))
    return rows


def _attempt_facts(attempt: Attempt) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("attempt", f"{attempt.number} {attempt.outcome.value}"),
        ("at", f"{render.clock_time(attempt.at)}, after {render.duration(attempt.duration)}"),
        ("server", attempt.server or render.NOTHING),
        ("error", attempt.error or render.NOTHING),
    ]
    if attempt.started_at:
        rows.insert(1, ("began", render.clock_time(attempt.started_at)))
    if attempt.trace_id:
        rows.append(("trace", attempt.trace_id))
    if attempt.traceback:
        rows.append(("traceback", attempt.traceback.rstrip() + "\n"))
    return rows
