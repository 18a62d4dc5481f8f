"""`duly tasks`: list, look at, enqueue and put right single tasks."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, MisuseError, did_you_mean, duration_of, noun, state_of
from duly.cli.payload import job_from
from duly.engine.client import Client
from duly.engine.inspector import Inspector
from duly.engine.reports import TaskPage
from duly.errors import DulyError, IllegalTransitionError, NotFoundError
from duly.task import Attempt, Task, TaskState

app = noun(
    "List, look at, enqueue and put right single tasks.",
    "duly tasks ls default --state archived\n"
    "duly tasks inspect 01JZ…\n"
    "duly tasks enqueue check_pending_orders --delay 30s\n"
    "duly tasks run 01JZ… --queue default",
)
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Task ids.")]
Queue = Annotated[
    str | None, typer.Option("--queue", help="Their queue. Without it every queue is searched.")
]
Operation = Callable[[Inspector, str, str], Awaitable[None]]


@app.command("ls")
def list_tasks(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(help="A queue.")],
    *,
    state: Annotated[
        str, typer.Option(help=f"One of {', '.join(TaskState)}.")
    ] = TaskState.WAITING.value,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Tasks in a page.")] = 30,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first.")] = False,
    as_json: Json = False,
) -> None:
    """List tasks of one queue in one state, newest first.

    JSON: {"tasks": [{"id", "kind", "state", "payload", "attempts", "history", …}], "next_cursor"}
    """
    wanted = state_of(state)

    async def ask(inspector: Inspector) -> TaskPage:
        known = [report.name for report in await inspector.queues()]
        if queue not in known:
            raise DulyError(f"no queue {queue!r}{did_you_mean(queue, known)}")
        return await inspector.tasks(queue, wanted, limit=limit, cursor=cursor, newest=not oldest)

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
    as_json: Json = False,
) -> None:
    """Enqueue one job and print the task's id.

    JSON: the task, as `duly tasks inspect --json` shows it.
    """
    job = job_from(kind, fields or [], payload)

    async def act(client: Client) -> Task:
        return await client.enqueue(
            job,
            queue=queue,
            task_id=task_id,
            delay=_duration(delay),
            max_attempts=max_attempts,
            timeout=_duration(timeout),
            unique_for=_duration(unique_for),
        )

    task = access_of(context).produce(act)
    if as_json:
        render.as_json(task)
        return
    typer.echo(f"{task.id}  {task.kind}  {task.state.value} in queue {task.queue}")


@app.command("run")
def run_tasks(context: typer.Context, ids: Ids, queue: Queue = None) -> None:
    """Let scheduled, retry, archived or quarantined tasks run now, attempts reset."""
    _each(context, ids, queue, "will run", lambda inspector, q, i: inspector.run(q, i))


@app.command("archive")
def archive_tasks(context: typer.Context, ids: Ids, queue: Queue = None) -> None:
    """Put waiting, scheduled or retry tasks aside; `run` brings them back."""
    _each(context, ids, queue, "is archived", lambda inspector, q, i: inspector.archive(q, i))


@app.command("delete")
def delete_tasks(context: typer.Context, ids: Ids, queue: Queue = None) -> None:
    """Delete tasks that are not active, for good."""
    _each(context, ids, queue, "is deleted", lambda inspector, q, i: inspector.delete(q, i))


@app.command("cancel")
def cancel_tasks(
    context: typer.Context,
    ids: Ids,
    queue: Queue = None,
    then: Annotated[
        Literal["archive", "delete", "retry"],
        typer.Option(help="What becomes of them once their handlers have stopped."),
    ] = "archive",
) -> None:
    """Have active tasks stopped; they stay active until their handlers have ended."""
    _each(
        context,
        ids,
        queue,
        f"is being cancelled, then: {then}",
        lambda inspector, q, i: inspector.cancel(q, i, outcome=then),
    )


def _each(
    context: typer.Context, ids: list[str], queue: str | None, done: str, operation: Operation
) -> None:
    """Operate on every task; those that fail are told apart, and the first of them is raised."""

    async def act(inspector: Inspector) -> DulyError | None:
        failures: list[DulyError] = []
        for task_id in ids:
            try:
                home = queue or (await inspector.find(task_id)).queue
                await operation(inspector, home, task_id)
            except (NotFoundError, IllegalTransitionError) as error:
                failures.append(error)
            else:
                typer.echo(f"task {render.one_line(task_id)} {done}")
        for failure in failures[1:]:
            typer.echo(f"duly: {render.one_line(str(failure))}", err=True)
        return failures[0] if failures else None

    failure = access_of(context).inspect(act)
    if failure is not None:
        raise failure


async def _find(inspector: Inspector, queue: str | None, task_id: str) -> Task:
    return await (inspector.task(queue, task_id) if queue else inspector.find(task_id))


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else duration_of(text)


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
