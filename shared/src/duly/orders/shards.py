"""The check in shards: parts of one sweep as tasks of their own, on any workers; one summary."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol, runtime_checkable

import structlog

from duly.clock import Clock, SystemClock, from_unix_ms, to_unix_ms
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import JoinReport
from duly.errors import ConfigError, NotFoundError, Skip
from duly.flow import group, step
from duly.jobs.orders import CheckOrdersShard, CheckPendingOrders, SumUpPendingOrders
from duly.orders.check import PendingOrdersCheck
from duly.orders.ids import read_id, write_id
from duly.orders.page import OrderId
from duly.orders.policies import Every, LogPolicy, Span
from duly.orders.source import Source
from duly.orders.totals import Totals
from duly.task import TaskContext, TaskState

SMALLEST: Final = 5_000
"""A shard is not made for fewer orders: the tasks would cost more than they save."""
_SUMMARY: Final = ".summary"
KEPT: Final = timedelta(hours=1)
"""How long a worker can find out whether the sweep that it divided last became whole."""
GIVEN_UP: Final = timedelta(minutes=10)
"""After so long a sweep whose summary is still missing keeps no other one from beginning."""


@runtime_checkable
class Divisible(Source, Protocol):
    """A source that can be read in parts."""

    async def bounds(self, parts: int, smallest: int) -> Sequence[OrderId]:
        """Return the last id of each part but the last, ascending: empty for one part.

        Args:
            parts: How many there are to be at most, of about the same size.
            smallest: Orders that a part has at least.

        Raises:
            DulyError: The source cannot be read.
        """


class ShardedCheck:
    """The handlers of a check that several workers share.

    Args:
        source: Is divided, where there are to be several shards.
        check: Reads and logs a part.
        inspector: Reads what became of the parts.
        shards: How many there are at most.
        policy: Which orders get a line, as the check has it; None: every one.
        clock: Tells how long a sweep has been going on.
    """

    def __init__(
        self,
        source: Source,
        check: PendingOrdersCheck,
        inspector: Inspector,
        *,
        shards: int,
        policy: LogPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(source, Divisible) and shards > 1:
            problem = "the source of orders cannot be divided"
            raise ConfigError("orders.shards", problem, remedy="use orders.shards: 1")
        self._source = source if isinstance(source, Divisible) else None
        self._check, self._inspector = check, inspector
        self._shards = shards
        self._policy, self._clock = policy or Every(), clock or SystemClock()
        self._divided: tuple[str, Span] | None = None

    async def begin(self, job: CheckPendingOrders, context: TaskContext) -> None:
        """Divide the pending orders, and let a task for each part follow; few need only this one.

        While the last sweep goes on none begins, as with a check in one task.
        """
        if await self._goes_on(context.queue):
            log = structlog.get_logger("duly.orders")
            log.info("Pending orders are still being checked", run_id=context.id)
            return
        await self._learn(context.queue)
        if self._check.memory:
            await self._check.memory.learn(context.queue)
        source = self._source
        bounds = await source.bounds(self._shards, SMALLEST) if source else ()
        if not bounds:
            await self._check(job, context)
            return
        begun_ms = context.started_ms or self._now_ms()
        span = self._policy.span(from_unix_ms(begun_ms))
        since_ms = None if span.since is None else to_unix_ms(span.since)
        past = {"begun_ms": begun_ms, "since_ms": since_ms} if self._policy.times else {}
        ends = [write_id(bound) for bound in bounds]
        parts = [
            step(
                CheckOrdersShard(run_id=context.id, after=after, until=until, **past),
                task_id=_part_id(context.id, number),
                queue=context.queue,
            )
            for number, (after, until) in enumerate(
                zip([None, *ends], [*ends, None], strict=True), 1
            )
        ]
        summary = SumUpPendingOrders(run_id=context.id, shards=len(parts), begun_ms=begun_ms)
        kept = {"retention": KEPT} if self._policy.times else {}
        after = step(summary, task_id=f"{context.id}{_SUMMARY}", queue=context.queue, **kept)
        context.then(group(parts, then=after))
        self._divided = (context.id, span)

    async def part(self, job: CheckOrdersShard, context: TaskContext) -> Totals:
        """Log the pending orders of a part; return its totals."""
        after = None if job.after is None else read_id(job.after)
        until = None if job.until is None else read_id(job.until)
        begun = self._clock.now() if job.begun_ms is None else from_unix_ms(job.begun_ms)
        since = None if job.since_ms is None else from_unix_ms(job.since_ms)
        span = Span(begun=begun, since=since)
        return await self._check.sweep(context, span, after=after, until=until)

    async def sum_up(self, job: SumUpPendingOrders, context: TaskContext) -> Totals:
        """Log one line for all parts; return what they add up to.

        Raises:
            Skip: The totals of a part are gone.
        """
        totals = Totals()
        for number in range(1, job.shards + 1):
            try:
                part = await self._inspector.tasks.get(context.queue, _part_id(job.run_id, number))
                totals.merge(Totals.from_json(part.result))
            except (NotFoundError, ValueError):
                raise Skip(f"the totals of part {number} are gone") from None
        if totals.whole and self._check.memory:
            await self._check.memory.swept(context.queue, Span(begun=from_unix_ms(job.begun_ms)))
        now_ms = context.started_ms or self._now_ms()
        self._check.sum_up(totals, job.run_id, max(0, now_ms - job.begun_ms) / 1000)
        return totals

    def _now_ms(self) -> int:
        return to_unix_ms(self._clock.now())

    async def _learn(self, queue: str) -> None:
        """Let the policy know if the sweep that this worker divided last has become whole."""
        if self._divided is None or not self._policy.times:
            return
        (run_id, span), self._divided = self._divided, None
        with suppress(NotFoundError, ValueError):  # given up, or too long ago: it does not count
            summary = await self._inspector.tasks.get(queue, f"{run_id}{_SUMMARY}")
            if Totals.from_json(summary.result).whole:
                self._policy.swept(span)

    async def _goes_on(self, queue: str) -> bool:
        """Tell whether the summary of an earlier sweep is still to come.

        One that cannot come any more, because a part was given up, is cancelled.
        """
        for join in await self._inspector.joins.list(queue):
            if join.kind != SumUpPendingOrders.kind:
                continue
            run_id = join.task_id.removesuffix(_SUMMARY)
            if not await self._is_dead(join, run_id, queue):
                return True
            log = structlog.get_logger("duly.orders")
            log.warning("Pending orders were not all checked", run_id=run_id)
            with suppress(NotFoundError):  # another one was quicker
                await self._inspector.joins.cancel(queue, join.id)
        return False

    async def _is_dead(self, join: JoinReport, run_id: str, queue: str) -> bool:
        """Tell whether a part that is missing will not end any more."""
        if self._clock.now() - join.since > GIVEN_UP:
            return True
        for member in join.awaited:
            try:
                part = await self._inspector.tasks.get(queue, _part_id(run_id, member + 1))
            except NotFoundError:
                return True
            if part.state in {TaskState.ARCHIVED, TaskState.QUARANTINED}:
                return True
        return False


def _part_id(run_id: str, number: int) -> str:
    return f"{run_id}.part-{number}"
