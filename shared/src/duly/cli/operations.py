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
from duly.cli.consent import Yes, consent
from duly.cli.nouns import Json, MisuseError
from duly.cli.selection import (
    After,
    Before,
    Error,
    Kind,
    Payload,
    Selection,
    States,
    Window,
    looked_at,
)
from duly.engine import bulk
from duly.engine.inspector import Inspector
from duly.engine.search import DEFAULT_WINDOW
from duly.errors import DulyError, IllegalTransitionError, NotFoundError
from duly.jobs import CATALOGUE

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Task ids; none: see the options.")
]
Queue = Annotated[
    str | None, typer.Option("--queue", help="Their queue. Without it every queue is searched.")
]
All = Annotated[bool, typer.Option("--all", help="Every task that the operation applies to.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Most tasks to touch.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
Then = Annotated[
    Literal["archive", "delete", "retry"],
    typer.Option(help="What becomes of them once their handlers have stopped."),
]
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done, and how carefully."""

    operation: bulk.Operation
    done: str
    """What a task then is, in words."""
    then: Literal["archive", "delete", "retry"] = "archive"
    limit: int = bulk.DEFAULT_CAP
    everything: bool = False
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False
    to_queue: str | None = None
    """Run them there, as new tasks."""

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


def run_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    to_queue: Annotated[
        str | None, typer.Option(help="Run these ids there, as new tasks linked to the old ones.")
    ] = None,
    state: States = None,
    kind: Kind = "",
    error: Error = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    everything: All = False,
    limit: Limit = bulk.DEFAULT_CAP,
    window: Window = DEFAULT_WINDOW,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Let scheduled, retry, aggregating, archived or quarantined tasks run now, attempts reset.

    JSON of many: {"operation", "matched", "done", "gone", "failed", "ineligible", "scanned", …}
    """
    chosen = _select(queue, state, kind, error, payload, after, before, window)
    order = Order(
        operation="run", done=f"will run in queue {to_queue}" if to_queue else "will run",
        limit=limit, everything=everything, dry_run=dry_run, yes=yes, as_json=as_json,
        to_queue=to_queue,
    )  # fmt: skip
    _obey(context, order, ids, queue, chosen)


def archive_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    state: States = None,
    kind: Kind = "",
    error: Error = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    everything: All = False,
    limit: Limit = bulk.DEFAULT_CAP,
    window: Window = DEFAULT_WINDOW,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put waiting, scheduled, retry or aggregating tasks aside; `run` brings them back.

    JSON of many: as of `duly tasks run`.
    """
    chosen = _select(queue, state, kind, error, payload, after, before, window)
    order = Order(
        operation="archive", done="is archived", limit=limit, everything=everything,
        dry_run=dry_run, yes=yes, as_json=as_json,
    )  # fmt: skip
    _obey(context, order, ids, queue, chosen)


def delete_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    state: States = None,
    kind: Kind = "",
    error: Error = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    everything: All = False,
    limit: Limit = bulk.DEFAULT_CAP,
    window: Window = DEFAULT_WINDOW,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete tasks that are not active, for good.

    JSON of many: as of `duly tasks run`.
    """
    chosen = _select(queue, state, kind, error, payload, after, before, window)
    order = Order(
        operation="delete", done="is deleted", limit=limit, everything=everything,
        dry_run=dry_run, yes=yes, as_json=as_json,
    )  # fmt: skip
    _obey(context, order, ids, queue, chosen)


def cancel_tasks(
    context: typer.Context,
    ids: Ids = None,
    *,
    queue: Queue = None,
    then: Then = "archive",
    kind: Kind = "",
    payload: Payload = None,
    after: After = None,
    before: Before = None,
    everything: All = False,
    limit: Limit = bulk.DEFAULT_CAP,
    window: Window = DEFAULT_WINDOW,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Have active tasks stopped; they stay active until their handlers have ended.

    JSON of many: as of `duly tasks run`.
    """
    chosen = _select(queue, None, kind, "", payload, after, before, window)
    order = Order(
        operation="cancel", done=f"is being cancelled, then: {then}", then=then, limit=limit,
        everything=everything, dry_run=dry_run, yes=yes, as_json=as_json,
    )  # fmt: skip
    _obey(context, order, ids, queue, chosen)


def _select(  # noqa: PLR0917 - the options as the commands take them
    queue: str | None,
    state: list[str] | None,
    kind: str,
    error: str,
    payload: list[str] | None,
    after: str | None,
    before: str | None,
    window: int,
) -> Selection:
    return Selection(
        queues=(queue,) if queue else (), states=tuple(state or ()), kind=kind, error=error,
        payload=tuple(payload or ()), after=after, before=before, window=window,
    )  # fmt: skip


def _obey(
    context: typer.Context,
    order: Order,
    ids: list[str] | None,
    queue: str | None,
    chosen: Selection,
) -> None:
    filtered = order.everything or not chosen.empty
    if ids and (filtered or order.dry_run):
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
            inspector, order.operation, query, cap=order.limit, window=chosen.window
        )
    )
    fulfil(context, order, planned)


def fulfil(context: typer.Context, order: Order, planned: bulk.Plan) -> None:
    """Ask, carry out what was planned, and tell how it went."""
    access = access_of(context)
    progress = bulk.Progress(total=len(planned.tasks))
    if planned.tasks and not order.dry_run:
        _say(planned)
        consent(f"{order.operation.capitalize()} {len(planned.tasks):,} tasks?", yes=order.yes)
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
    if order.as_json:
        counts = {"done": progress.done, "gone": progress.gone, "failed": progress.failed}
        render.as_json(
            {"operation": order.operation, "dry_run": order.dry_run, "matched": len(planned.tasks)}
            | counts
            | {"ineligible": planned.ineligible, "scanned": planned.scanned}
            | {"total": planned.total, "complete": planned.complete}
        )
    elif order.dry_run:
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
