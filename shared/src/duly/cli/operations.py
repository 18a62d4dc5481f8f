"""`duly tasks run|archive|delete|cancel`: by ids, or all that match a selection."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from duly.cli import render
from duly.cli.access import Access, access_of
from duly.cli.completion import queues
from duly.cli.consent import consent
from duly.cli.nouns import MisuseError, fail_unreadable
from duly.cli.options import Options, with_options
from duly.cli.payload import catalogue_of
from duly.cli.selection import Selection, examined
from duly.engine.inspection import bulk
from duly.engine.inspection.inspector import Inspector
from duly.errors import DulyError, DuplicateTaskError, IllegalTransitionError, NotFoundError
from duly.plurals import plural
from duly.task import ALLOWED, Task

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of tasks; without any, select tasks by options."),
]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue",
        autocompletion=queues,
        help="Queue of the tasks; default: every queue is searched.",
    ),
]
Then = Annotated[
    Literal["archive", "delete", "retry"],
    typer.Option(help="What to do with the tasks once their handlers have stopped."),
]
_DONE: dict[bulk.Operation, str] = {
    "run": "re-queued, attempts reset",
    "archive": "archived",
    "delete": "deleted",
    "cancel": "is being cancelled, then: {then}",
}
"""Operation → what was done to a task."""
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done, and how carefully."""

    operation: bulk.Operation
    options: Options
    then: Literal["archive", "delete", "retry"] = "archive"
    to_queue: str | None = None
    """Run them there, as new tasks."""

    @property
    def done(self) -> str:
        """What was done to a task, in words."""
        if self.to_queue:
            return f"re-queued in queue {self.to_queue} as a new task"
        return _DONE[self.operation].format(then=self.then)

    def one(self, inspector: Inspector) -> Callable[[str, str], Awaitable[None]]:
        """Return the operation on one task, given its queue and its id."""
        if self.operation == "cancel":
            return lambda queue, task_id: inspector.tasks.cancel(queue, task_id, outcome=self.then)
        if self.to_queue is not None:
            return lambda queue, task_id: self._elsewhere(inspector, queue, task_id)
        single = {
            "run": inspector.tasks.run,
            "archive": inspector.tasks.archive,
            "delete": inspector.tasks.delete,
        }
        return single[self.operation]

    async def _elsewhere(self, inspector: Inspector, queue: str, task_id: str) -> None:
        kind = (await inspector.tasks.get(queue, task_id)).kind
        known = await catalogue_of(inspector, kind)
        await inspector.tasks.rerun(queue, task_id, to_queue=self.to_queue, catalogue=known)


async def found(inspector: Inspector, queue: str | None, task_id: str) -> Task:
    """Return a task of a queue; without one, of whichever queue holds it."""
    return await (inspector.tasks.get(queue, task_id) if queue else inspector.tasks.find(task_id))


@with_options()
def run_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    to_queue: Annotated[
        str | None,
        typer.Option(
            help="Run the tasks with these ids in this queue, as new tasks linked to the old ones."
        ),
    ] = None,
    options: Options,
) -> None:
    """Re-queue scheduled, retry, aggregating, archived or quarantined tasks, attempts reset.

    JSON of a selection: {"operation", "matched", "done", "gone", "failed", "ineligible", …}
    """
    _operate(context, Order(operation="run", to_queue=to_queue, options=options), ids, queue)


@with_options()
def archive_tasks(
    context: typer.Context, ids: Ids = None, *, queue: Queue = None, options: Options
) -> None:
    """Archive waiting, scheduled, retry or aggregating tasks; `run` re-queues them.

    JSON of a selection: as of `duly tasks run`.
    """
    _operate(context, Order(operation="archive", options=options), ids, queue)


@with_options()
def delete_tasks(
    context: typer.Context, ids: Ids = None, *, queue: Queue = None, options: Options
) -> None:
    """Delete tasks that are not active, permanently.

    JSON of a selection: as of `duly tasks run`.
    """
    _operate(context, Order(operation="delete", options=options), ids, queue)


@with_options(without=("state", "error"))
def cancel_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    then: Then = "archive",
    options: Options,
) -> None:
    """Cancel active tasks; they stay active until their handlers have ended.

    JSON of a selection: as of `duly tasks run`.
    """
    _operate(context, Order(operation="cancel", then=then, options=options), ids, queue)


def _operate(
    context: typer.Context, order: Order, ids: list[str] | None, queue: str | None
) -> None:
    chosen = order.options.selection(queue)
    filtered = order.options.everything or not chosen.empty
    if ids and (filtered or order.options.dry_run):
        raise MisuseError("ids and options that select tasks cannot be combined: use one of them")
    if order.to_queue is not None and not ids:
        raise MisuseError("--to-queue needs ids: find them with `duly tasks search`")
    if ids:
        _each(context, order, ids, queue)
    elif filtered:
        _many(context, order, chosen)
    else:
        raise MisuseError(
            "no tasks selected: give ids, or --state, --kind, --error, --payload, --after or "
            f"--before, or --all for every task that allows {order.operation}"
        )


def _many(context: typer.Context, order: Order, chosen: Selection) -> None:
    """Plan, ask for consent, execute."""
    access = access_of(context)
    allowed = ALLOWED[order.operation]
    query = chosen.query(allowed)
    if not set(query.states) & set(allowed):
        named, known = ", ".join(query.states), ", ".join(sorted(allowed))
        raise MisuseError(f"--state: {order.operation} is for tasks that are {known}, not {named}")
    planned = access.inspect(
        lambda inspector: inspector.bulk.plan(
            order.operation, query, cap=order.options.limit, window=chosen.window
        )
    )
    fulfil(context, order, planned)


def fulfil(context: typer.Context, order: Order, planned: bulk.BulkPlan) -> None:
    """Ask for consent, execute a plan, and print the outcome."""
    access = access_of(context)
    progress = bulk.BulkProgress(total=len(planned.tasks))
    if planned.tasks and not order.options.dry_run:
        _print_plan(planned)
        consent(
            f"{order.operation.capitalize()} {plural(len(planned.tasks), 'task')}?",
            yes=order.options.yes,
        )
        progress = _execute(access, order, planned)
    _print_outcome(order, planned, progress)
    fail_unreadable(planned.unreadable)


def _execute(access: Access, order: Order, planned: bulk.BulkPlan) -> bulk.BulkProgress:
    """Execute a plan under a progress bar; if interrupted, say how far it came."""
    reached = bulk.BulkProgress(total=len(planned.tasks))

    def report(far: bulk.BulkProgress) -> None:
        nonlocal reached
        reached = far
        bar.update(row, completed=far.done + far.gone + far.failed)

    try:
        with Bar(console=Console(stderr=True), transient=True) as bar:
            row = bar.add_task(order.operation, total=len(planned.tasks))
            return access.inspect(
                lambda inspector: inspector.bulk.execute(planned, outcome=order.then, report=report)
            )
    except KeyboardInterrupt:
        print(  # noqa: T201 - the command line's output
            f"duly: interrupted: {reached.done:,} of {plural(reached.total, 'task')} {order.done}, "
            "and those of the batch that was under way; the same command does the rest",
            file=sys.stderr,
        )
        raise


def _print_plan(planned: bulk.BulkPlan) -> None:
    """Print to stderr what is about to be done."""
    bound = examined(planned.scanned, planned.total, complete=planned.complete)
    passed = (
        f", {planned.ineligible:,} more in a state that does not allow it"
        if planned.ineligible
        else ""
    )
    matching = plural(len(planned.tasks), "task matches", "tasks match")
    print(f"{matching}{passed}; {bound}", file=sys.stderr)  # noqa: T201


def _print_outcome(order: Order, planned: bulk.BulkPlan, progress: bulk.BulkProgress) -> None:
    """Print the outcome; a task that the broker refused makes the command fail."""
    if order.options.as_json:
        counts = {"done": progress.done, "gone": progress.gone, "failed": progress.failed}
        render.as_json(
            {
                "operation": order.operation,
                "dry_run": order.options.dry_run,
                "matched": len(planned.tasks),
            }
            | counts
            | {"ineligible": planned.ineligible, "scanned": planned.scanned}
            | {"total": planned.total, "complete": planned.complete}
        )
    elif order.options.dry_run:
        rows = [(task.id, task.queue, task.state.value, task.kind) for task in planned.tasks]
        columns = ("id", "queue", "state", "~kind")
        render.table(columns, rows[:_SHOWN], empty="no matching tasks")
        if len(rows) > _SHOWN:
            typer.echo(f"… and {len(rows) - _SHOWN:,} more")
        _print_plan(planned)
    elif not planned.tasks:
        typer.echo("no matching tasks")
        _print_plan(planned)
    else:
        skipped = (
            f", {progress.gone:,} skipped: they had changed state meanwhile"
            if progress.gone
            else ""
        )
        typer.echo(f"{plural(progress.done, 'task')} {order.done}{skipped}")
    if progress.failed:
        refused = plural(progress.failed, "task")
        raise DulyError(f"the broker refused the operation for {refused}: {progress.error}")


def _each(context: typer.Context, order: Order, ids: list[str], queue: str | None) -> None:
    """Operate on every id; each failure is printed, and the first one raised."""

    async def act(inspector: Inspector) -> DulyError | None:
        failures: list[DulyError] = []
        for task_id in ids:
            try:
                home = queue or (await inspector.tasks.find(task_id)).queue
                await order.one(inspector)(home, task_id)
            except (DuplicateTaskError, NotFoundError, IllegalTransitionError) as error:
                failures.append(error)
            else:
                typer.echo(f"task {render.one_line(task_id)} {order.done}")
        for failure in failures[1:]:
            typer.echo(f"duly: {render.one_line(str(failure))}", err=True)
        return failures[0] if failures else None

    failure = access_of(context).inspect(act)
    if failure is not None:
        raise failure
