"""`duly tasks run|archive|delete|cancel`: by ids, or all that are of a kind, a state, a time."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.consent import consent
from duly.cli.nouns import MisuseError
from duly.cli.options import Options, with_options
from duly.cli.selection import Selection, looked_at
from duly.engine import bulk
from duly.engine.inspector import Inspector
from duly.errors import DulyError, IllegalTransitionError, NotFoundError
from duly.jobs import CATALOGUE

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Task ids; none: see the options.")
]
Queue = Annotated[
    str | None, typer.Option("--queue", help="Their queue. Without it every queue is searched.")
]
Then = Annotated[
    Literal["archive", "delete", "retry"],
    typer.Option(help="What becomes of them once their handlers have stopped."),
]
_DONE: dict[bulk.Operation, str] = {
    "run": "will run",
    "archive": "is archived",
    "delete": "is deleted",
    "cancel": "is being cancelled, then: {then}",
}
"""Operation → what a task then is."""
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
        """What a task then is, in words."""
        if self.to_queue:
            return f"will run in queue {self.to_queue}"
        return _DONE[self.operation].format(then=self.then)

    def one(self, inspector: Inspector) -> Callable[[str, str], Awaitable[None]]:
        """Return the operation on one task, given its queue and its id."""
        if self.operation == "cancel":
            return lambda queue, task_id: inspector.cancel(queue, task_id, outcome=self.then)
        if self.to_queue is not None:
            return lambda queue, task_id: self._elsewhere(inspector, queue, task_id)
        single = {"run": inspector.run, "archive": inspector.archive, "delete": inspector.delete}
        return single[self.operation]

    async def _elsewhere(self, inspector: Inspector, queue: str, task_id: str) -> None:
        await inspector.rerun(queue, task_id, to_queue=self.to_queue, catalogue=CATALOGUE)


@with_options()
def run_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    to_queue: Annotated[
        str | None, typer.Option(help="Run these ids there, as new tasks linked to the old ones.")
    ] = None,
    options: Options,
) -> None:
    """Let scheduled, retry, aggregating, archived or quarantined tasks run now, attempts reset.

    JSON of many: {"operation", "matched", "done", "gone", "failed", "ineligible", "scanned", …}
    """
    _obey(context, Order(operation="run", to_queue=to_queue, options=options), ids, queue)


@with_options()
def archive_tasks(
    context: typer.Context, ids: Ids = None, *, queue: Queue = None, options: Options
) -> None:
    """Put waiting, scheduled, retry or aggregating tasks aside; `run` brings them back.

    JSON of many: as of `duly tasks run`.
    """
    _obey(context, Order(operation="archive", options=options), ids, queue)


@with_options()
def delete_tasks(
    context: typer.Context, ids: Ids = None, *, queue: Queue = None, options: Options
) -> None:
    """Delete tasks that are not active, for good.

    JSON of many: as of `duly tasks run`.
    """
    _obey(context, Order(operation="delete", options=options), ids, queue)


@with_options(without=("state", "error"))
def cancel_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    then: Then = "archive",
    options: Options,
) -> None:
    """Have active tasks stopped; they stay active until their handlers have ended.

    JSON of many: as of `duly tasks run`.
    """
    _obey(context, Order(operation="cancel", then=then, options=options), ids, queue)


def _obey(context: typer.Context, order: Order, ids: list[str] | None, queue: str | None) -> None:
    chosen = order.options.selection(queue)
    filtered = order.options.everything or not chosen.empty
    if ids and (filtered or order.options.dry_run):
        raise MisuseError("give ids, or say by options which tasks; not both")
    if order.to_queue is not None and not ids:
        raise MisuseError("--to-queue takes ids: `duly tasks search` finds them")
    if ids:
        _each(context, order, ids, queue)
    elif filtered:
        _many(context, order, chosen)
    else:
        raise MisuseError(
            f"which tasks? give ids, or --state, --kind, --error, --payload, --after, --before; "
            f"--all for every one that {order.operation} applies to"
        )


def _many(context: typer.Context, order: Order, chosen: Selection) -> None:
    """Plan, ask, carry out."""
    access = access_of(context)
    query = chosen.query(bulk.ELIGIBLE[order.operation])
    planned = access.inspect(
        lambda inspector: bulk.plan(
            inspector, order.operation, query, cap=order.options.limit, window=chosen.window
        )
    )
    fulfil(context, order, planned)


def fulfil(context: typer.Context, order: Order, planned: bulk.Plan) -> None:
    """Ask, carry out what was planned, and tell how it went."""
    access = access_of(context)
    progress = bulk.Progress(total=len(planned.tasks))
    if planned.tasks and not order.options.dry_run:
        _say(planned)
        consent(
            f"{order.operation.capitalize()} {len(planned.tasks):,} tasks?", yes=order.options.yes
        )
        with Bar(console=Console(stderr=True), transient=True) as bar:
            row = bar.add_task(order.operation, total=len(planned.tasks))
            progress = access.inspect(
                lambda inspector: bulk.carry_out(
                    inspector,
                    planned,
                    outcome=order.then,
                    report=lambda far: bar.update(row, completed=far.done + far.gone + far.failed),
                )
            )
    _tell(order, planned, progress)


def _say(planned: bulk.Plan) -> None:
    """Say on stderr what is about to be done."""
    bound = looked_at(planned.scanned, planned.total, complete=planned.complete)
    passed = f", {planned.ineligible:,} in a state that forbids it" if planned.ineligible else ""
    print(f"{len(planned.tasks):,} tasks match{passed}; {bound}", file=sys.stderr)  # noqa: T201


def _tell(order: Order, planned: bulk.Plan, progress: bulk.Progress) -> None:
    """Print how it went; a task that the broker refused makes the command fail."""
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
        render.table(columns, rows[:_SHOWN], empty="nothing matches")
        if len(rows) > _SHOWN:
            typer.echo(f"… and {len(rows) - _SHOWN:,} more")
        _say(planned)
    elif not planned.tasks:
        typer.echo("nothing matches")
        _say(planned)
    else:
        skipped = f", {progress.gone:,} had moved on meanwhile" if progress.gone else ""
        typer.echo(f"{progress.done:,} tasks: each {order.done}{skipped}")
    if progress.failed:
        raise DulyError(f"{progress.failed:,} tasks were refused by the broker: {progress.error}")


def _each(context: typer.Context, order: Order, ids: list[str], queue: str | None) -> None:
    """Operate on every id; those that fail are told apart, and the first of them is raised."""

    async def act(inspector: Inspector) -> DulyError | None:
        failures: list[DulyError] = []
        for task_id in ids:
            try:
                home = queue or (await inspector.find(task_id)).queue
                await order.one(inspector)(home, task_id)
            except (NotFoundError, IllegalTransitionError) as error:
                failures.append(error)
            else:
                typer.echo(f"task {render.one_line(task_id)} {order.done}")
        for failure in failures[1:]:
            typer.echo(f"duly: {render.one_line(str(failure))}", err=True)
        return failures[0] if failures else None

    failure = access_of(context).inspect(act)
    if failure is not None:
        raise failure
