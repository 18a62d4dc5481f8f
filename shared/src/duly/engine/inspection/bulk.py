"""Operations on many tasks: a snapshot first, then chunk by chunk, within a cap.

The ids are collected before anything moves, since paging through a list that shrinks meanwhile
would miss half of it. Nothing is done in one long script: the broker stays free for others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from duly.engine.inspection.groups import Groups
from duly.engine.inspection.search import DEFAULT_WINDOW, Query
from duly.engine.inspection.tasks import Tasks
from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.engine.storage.reports import GroupReport
from duly.errors import BrokerDownError, DulyError, IllegalTransitionError, NotFoundError
from duly.task import ALLOWED, Task

Operation = Literal["run", "archive", "delete", "cancel"]
DEFAULT_CAP = 10_000
_PAGE = 500
"""Tasks of a group that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPlan:
    """What a bulk operation would do: show it before it is done."""

    operation: Operation
    tasks: tuple[Task, ...]
    """Those that match and allow the operation, as they were seen, without what is large."""
    ineligible: int
    """Those that match and do not allow it, of those that were looked at."""
    scanned: int
    """Tasks that were looked at."""
    total: int
    """Tasks that there were to look at."""
    complete: bool
    """False: a bound was reached, or a queue could not be read; more may match and allow it."""
    unreadable: tuple[str, ...] = ()
    """Why queues were passed over."""


@dataclass(slots=True, kw_only=True)
class BulkProgress:
    """How far a bulk operation is."""

    total: int
    done: int = 0
    gone: int = 0
    """Tasks that had moved on meanwhile; they were left alone."""
    failed: int = 0
    """Tasks that the broker refused to move."""
    error: str = ""
    """Why it refused the last of them."""


class Bulk:
    """Operates on many tasks: `plan`, show the plan, `execute`."""

    def __init__(self, tasks: Tasks, groups: Groups) -> None:
        self._tasks, self._groups = tasks, groups

    async def plan(
        self,
        operation: Operation,
        query: Query,
        *,
        cap: int = DEFAULT_CAP,
        window: int = DEFAULT_WINDOW,
    ) -> BulkPlan:
        """Collect the tasks that the operation would apply to; change nothing.

        The states that allow the operation are looked at first, so that however many tasks in
        others take away neither from the cap nor, before these, from the window.

        Args:
            operation: What would be done.
            query: Which tasks.
            cap: Most tasks that one operation may touch.
            window: Most tasks to look at.

        Raises:
            NotFoundError: A named queue does not exist.
        """
        if query.id:
            named = await self._tasks.identified(query)
            return _planned(operation, named, looked_at=len(named))
        allowed = ALLOWED[operation]
        states = sorted(query.states, key=lambda state: state not in allowed)
        total = await self._tasks.count(query.queues, states)
        unreadable: dict[str, str] = {}
        eligible: list[Task] = []
        ineligible, scanned, complete = 0, 0, True
        async for task in self._tasks.scan(query.queues, states, unreadable=unreadable):
            if scanned >= window or (len(eligible) >= cap and task.state in allowed):
                complete = task.state not in allowed
                break
            scanned += 1
            if not query.matches(task):
                continue
            if task.state in allowed:
                eligible.append(_slim(task))
            else:
                ineligible += 1
        return BulkPlan(
            operation=operation,
            tasks=tuple(eligible),
            ineligible=ineligible,
            scanned=scanned,
            total=total,
            complete=complete and not unreadable,
            unreadable=tuple(unreadable.values()),
        )

    async def plan_selected(
        self, operation: Operation, selected: Sequence[tuple[str, str]]
    ) -> BulkPlan:
        """Collect tasks that are named one by one; change nothing.

        Args:
            operation: What would be done.
            selected: Queue and id of each; "" for the queue: whichever holds it. Those that are
                gone count as not eligible.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        found: list[Task] = []

        async def look(queue: str, task_id: str) -> None:
            tasks = self._tasks
            task = await (tasks.get(queue, task_id) if queue else tasks.find(task_id))
            found.append(task)

        for start in range(0, len(selected), AT_ONCE):
            chunk = selected[start : start + AT_ONCE]
            for error in await concurrently(look(queue, task_id) for queue, task_id in chunk):
                if isinstance(error, BrokerDownError):
                    raise error
        return _planned(operation, found, looked_at=len(selected))

    async def plan_group(
        self,
        operation: Literal["run", "archive", "delete"],
        group: GroupReport,
        *,
        cap: int = DEFAULT_CAP,
    ) -> BulkPlan:
        """Collect the tasks of a group, oldest first; change nothing.

        They are operated on one by one: those that run do so singly, not merged. A server that
        merges the group meanwhile either has a task or finds it gone and looks again: none is
        merged and operated on.

        Args:
            operation: What would be done.
            group: The group, as `Groups.get` reports it.
            cap: Most tasks that one operation may touch.
        """
        tasks: list[Task] = []
        cursor: str | None = None
        while len(tasks) < cap:
            page = await self._groups.tasks(
                group.queue,
                group.kind,
                group.name,
                limit=min(_PAGE, cap - len(tasks)),
                cursor=cursor,
                newest=False,
            )
            tasks += map(_slim, page.tasks)
            cursor = page.next_cursor
            if cursor is None:
                break
        total = max(group.size, len(tasks))
        return BulkPlan(
            operation=operation, tasks=tuple(tasks), ineligible=0,
            scanned=len(tasks), total=total, complete=cursor is None or len(tasks) == total,
        )  # fmt: skip

    async def execute(
        self,
        planned: BulkPlan,
        *,
        outcome: Literal["archive", "delete", "retry"] = "archive",
        report: Callable[[BulkProgress], None] = lambda _: None,
    ) -> BulkProgress:
        """Do what was planned; return how it went.

        A task that has moved on meanwhile is counted as gone and left alone: one in another state,
        and one that has been run again and is back in its state by having ended anew.

        Args:
            planned: What to do to which tasks.
            outcome: What becomes of those that are cancelled.
            report: Called after each hundred.

        Raises:
            BrokerDownError: The broker does not answer; what was done stays done, and planning
                again continues where this ended.
        """
        progress = BulkProgress(total=len(planned.tasks))
        tasks = self._tasks

        async def operate(seen: Task) -> None:
            match planned.operation:
                case "cancel":  # only active tasks can be planned, and cancelled
                    await tasks.cancel(seen.queue, seen.id, outcome=outcome)
                case "run":
                    await tasks.run(seen.queue, seen.id, seen=seen)
                case "archive":
                    await tasks.archive(seen.queue, seen.id, seen=seen)
                case "delete":
                    await tasks.delete(seen.queue, seen.id, seen=seen)

        for start in range(0, len(planned.tasks), AT_ONCE):
            chunk = planned.tasks[start : start + AT_ONCE]
            for error in await concurrently(map(operate, chunk)):
                _count(progress, error)
            report(progress)
        return progress


def _planned(operation: Operation, found: Sequence[Task], *, looked_at: int) -> BulkPlan:
    """Return the plan of tasks that were named, as many as were looked at or fewer."""
    eligible = tuple(_slim(task) for task in found if task.state in ALLOWED[operation])
    return BulkPlan(
        operation=operation, tasks=eligible, ineligible=looked_at - len(eligible),
        scanned=looked_at, total=looked_at, complete=True,
    )  # fmt: skip


def _slim(task: Task) -> Task:
    """Return a task without what would make a plan of many large."""
    return Task(
        id=task.id, queue=task.queue, kind=task.kind, state=task.state,
        due_at=task.due_at, ended_at=task.ended_at,
    )  # fmt: skip


def _count(progress: BulkProgress, error: DulyError | None) -> None:
    """Count how one task went.

    Raises:
        BrokerDownError: The broker does not answer; it is not known how it went.
    """
    if error is None:
        progress.done += 1
    elif isinstance(error, NotFoundError | IllegalTransitionError):
        progress.gone += 1
    elif isinstance(error, BrokerDownError):
        raise error
    else:
        progress.failed, progress.error = progress.failed + 1, str(error)
