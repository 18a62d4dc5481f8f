"""`duly tasks`: list, search, inspect, enqueue and operate on tasks."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from duly.cli import operations, render, reruns
from duly.cli.access import access_of
from duly.cli.completion import kinds, states
from duly.cli.completion import queues as queue_names
from duly.cli.groups import find_group
from duly.cli.nouns import (
    Json,
    MisuseError,
    did_you_mean,
    duration_of,
    fail_unreadable,
    noun,
    state_of,
)
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
    examined,
    instant_of,
)
from duly.clock import SystemClock
from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.search import DEFAULT_WINDOW, SEARCHED
from duly.engine.storage.reports import TaskPage
from duly.errors import DulyError, InvalidOptionError
from duly.runtime.durations import write_duration
from duly.task import Attempt, Task, TaskState

app = noun(
    "List, search, inspect, enqueue and operate on tasks.",
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
    queue: Annotated[str, typer.Argument(autocompletion=queue_names, help="A queue.")],
    *,
    state: Annotated[
        str | None,
        typer.Option(
            autocompletion=states, help=f"One of {', '.join(TaskState)}; default: waiting."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Only tasks that wait in this group: KIND:NAME or NAME.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most tasks in a page.")] = 30,
    cursor: Annotated[
        str | None, typer.Option(help="Continue after a page: the cursor that it printed.")
    ] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="List the oldest first.")] = False,
    as_json: Json = False,
) -> None:
    """List tasks of one queue in one state, newest first.

    JSON: {"tasks": [{"id", "kind", "state", "payload", "attempts", "history", …}], "next_cursor"}
    """
    wanted = state_of(state or (TaskState.AGGREGATING if group else TaskState.WAITING))
    if group is not None and wanted is not TaskState.AGGREGATING:
        raise MisuseError(f"--group: {wanted.value} tasks are in no group; omit --state")

    async def ask(inspector: Inspector) -> TaskPage:
        known = [report.name for report in await inspector.queues.list()]
        if queue not in known:
            raise DulyError(
                f"no queue {queue!r}{did_you_mean(queue, known)}; `duly queues ls` lists all"
            )
        if group is None:
            return await inspector.tasks.list(
                queue, wanted, limit=limit, cursor=cursor, newest=not oldest
            )
        found = await find_group(inspector, queue, group)
        return await inspector.groups.tasks(
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
        list[str] | None,
        typer.Argument(
            metavar="QUEUE", autocompletion=queue_names, help="Names of queues; default: all."
        ),
    ] = None,
    *,
    state: States = None,
    kind: Kind = "",
    error: Error = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Show at most this many tasks.")
    ] = 100,
    window: Window = DEFAULT_WINDOW,
    as_json: Json = False,
) -> None:
    """Search tasks by kind, error, payload or time, the newest of each state first.

    JSON: {"tasks": [...], "scanned", "total", "complete", "unreadable"}; "complete" is false when a
    limit was reached or a queue could not be read.
    """
    chosen = Selection(
        queues=tuple(queues or ()), states=tuple(state or ()), kind=kind, error=error,
        payload=tuple(payload or ()), after=after, before=before,
    )  # fmt: skip
    query = chosen.query(SEARCHED)
    found = access_of(context).inspect(
        lambda inspector: inspector.tasks.search(query, limit=limit, window=window)
    )
    if as_json:
        render.as_json(found)
        fail_unreadable(found.unreadable)
        return
    rows = (
        (task.id, task.queue, task.state.value, task.kind, _when(task), _gist(task))
        for task in found.tasks
    )
    render.table(("id", "queue", "state", "kind", "when", "~why"), rows, empty="no matching tasks")
    typer.echo(examined(found.scanned, found.total, complete=found.complete))
    fail_unreadable(found.unreadable)


@app.command("inspect")
def inspect_task(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the task.")],
    queue: Queue = None,
    as_json: Json = False,
) -> None:
    """Show one task with its payload, attempts and tracebacks.

    JSON: {"id", "queue", "kind", "state", "payload", "attempts", "history": [{"number", …}], …}
    """
    task = access_of(context).inspect(lambda inspector: operations.found(inspector, queue, task_id))
    if as_json:
        render.as_json(task)
        return
    render.facts(_facts(task))
    for attempt in task.ended_attempts:
        typer.echo()
        render.facts(_attempt_facts(attempt))


@app.command("enqueue")
def enqueue_task(
    context: typer.Context,
    kind: Annotated[
        str,
        typer.Argument(autocompletion=kinds, help="A kind of job, as `duly kinds ls` prints it."),
    ],
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE", help="Payload fields; the kind says what a value is."
        ),
    ] = None,
    *,
    payload: Annotated[str | None, typer.Option(help="The payload as a JSON object.")] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            autocompletion=queue_names, help="Enqueue to this queue; default: that of the kind."
        ),
    ] = None,
    create_queue: Annotated[
        bool,
        typer.Option("--create-queue", help="Accept a queue that nobody has declared yet."),
    ] = False,
    delay: Annotated[str | None, typer.Option(help="Delay before running: 30s, 5m.")] = None,
    task_id: Annotated[
        str | None, typer.Option("--id", help="Task id, unique in its queue; default: generated.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Attempts before the task is archived.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="Time limit of one attempt: 5m.")] = None,
    unique_for: Annotated[
        str | None,
        typer.Option(help="Reject duplicates for this long, or until the task ends: 1h."),
    ] = None,
    due: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Run at: 2026-01-31T12:00 (UTC), …+01:00, or 2h."),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time after which no attempt starts: as --due."),
    ] = None,
    retention: Annotated[
        str | None, typer.Option(help="Keep the completed task and its result for this long: 1d.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Header of the task, no duly-…; may be repeated."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Add it to this group, whose tasks are merged into one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enqueue one job and print its task id.

    JSON: the task, as `duly tasks inspect --json` shows it.
    """
    if delay and due:
        raise MisuseError("--delay and --due cannot be combined: use one of them")
    job = access_of(context).inspect(
        lambda inspector: job_from(inspector, kind, fields or [], payload)
    )

    async def act(client: Client) -> Task:
        return await client.enqueue(
            job,
            queue=queue,
            task_id=task_id,
            delay=_duration("--delay", delay),
            max_attempts=max_attempts,
            timeout=_duration("--timeout", timeout),
            unique_for=_duration("--unique-for", unique_for),
            due=_instant("--due", due),
            deadline=_instant("--deadline", deadline),
            retention=_duration("--retention", retention),
            headers=dict(map(_header, header)) if header else None,
            group=group,
        )

    try:
        task = access_of(context).produce(act, create_queues=create_queue)
    except InvalidOptionError as error:
        option = "--id" if error.option == "task_id" else f"--{error.option.replace('_', '-')}"
        remedy = error.remedy.replace("create_queues", "--create-queue")
        given = error.value
        shown = write_duration(given) if isinstance(given, timedelta) else repr(given)
        raise MisuseError(f"{option} {shown} {error.problem}: {remedy}") from None
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


def _duration(option: str, text: str | None) -> timedelta | None:
    return None if text is None else duration_of(option, text)


def _instant(option: str, text: str | None) -> datetime | None:
    return None if text is None else instant_of(text, SystemClock().now(), option, sign=1)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MisuseError(f"--header: {text!r} has no =; use NAME=VALUE")
    return name, value


def _attempts(task: Task) -> str:
    """Return how many attempts have ended, of how many where the task says so."""
    ended = task.attempts + (task.state is TaskState.COMPLETED)
    return f"{ended}/{task.max_attempts}" if task.max_attempts else str(ended)


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
