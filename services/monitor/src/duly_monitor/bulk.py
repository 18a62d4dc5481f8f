"""Operations on many tasks, in the background: chunk by chunk, at a pace, until stopped."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from duly.engine.inspection.bulk import BulkPlan
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import BulkRunReport, BulkRunState
from duly.errors import DulyError
from duly_monitor.operations import CancelOutcome

CHUNK: Final = 100
MOST_AT_ONCE: Final = 4
"""Bulk operations of one process: each takes its share of the broker."""
_ENDED: Final = "the monitor was stopped; what was done stays done, and the rest can be run anew"
_SECONDS_TO_SAVE: Final = 2


class TooManyBulkRunsError(DulyError):
    """This process runs as many bulk operations as it may."""

    def __init__(self) -> None:
        super().__init__(
            f"{MOST_AT_ONCE} bulk operations are under way: wait until one has ended, or stop one"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOrder:
    """A bulk operation as somebody ordered it."""

    plan: BulkPlan
    selection: str
    """Which tasks, in the words of a search."""
    by: str
    per_second: int = 0
    """Most tasks a second, so that retries do not come as a storm; 0: as many as possible."""
    outcome: CancelOutcome = "archive"
    """What becomes of tasks that are cancelled."""


class BulkRunner:
    """Runs bulk operations. Their records are in the broker, where every replica finds them.

    Args:
        inspector: Reads and operates.
        changed: Called before the end of each is recorded: what was read meanwhile is old.
    """

    def __init__(self, inspector: Inspector, changed: Callable[[], None] = lambda: None) -> None:
        self._inspector, self._changed = inspector, changed
        self._orders = asyncio.Queue[tuple[BulkOrder, BulkRunReport]]()
        self._under_way = 0

    async def order(self, order: BulkOrder) -> str:
        """Begin a bulk operation; return its id.

        Raises:
            TooManyBulkRunsError: As many are under way as may be.
        """
        if self._under_way >= MOST_AT_ONCE:
            raise TooManyBulkRunsError
        self._under_way += 1
        now_ms = self._inspector.bulk_runs.now_ms()
        report = BulkRunReport(
            id=secrets.token_hex(8),
            operation=order.plan.operation,
            selection=order.selection,
            by=order.by,
            started_ms=now_ms,
            updated_ms=now_ms,
            total=len(order.plan.tasks),
        )
        try:
            await self._inspector.bulk_runs.begin(report)
        except BaseException:
            self._under_way -= 1
            raise
        self._orders.put_nowait((order, report))
        return report.id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Carry out what is ordered, for the body; what is not done then is recorded as ended."""
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(self._take(group))
            started = self._started = set[asyncio.Task[None]]()
            try:
                yield
            finally:
                taking.cancel()
                for each in started:
                    each.cancel()

    async def _take(self, group: asyncio.TaskGroup) -> None:
        while True:
            order, report = await self._orders.get()
            task = group.create_task(self._carry_out(order, report))
            self._started.add(task)
            task.add_done_callback(self._started.discard)

    async def _carry_out(self, order: BulkOrder, report: BulkRunReport) -> None:
        """Run one operation to its end, whatever that is."""
        runs = self._inspector.bulk_runs
        latest = [report]
        try:
            state, error = await self._run(order, latest)
        except asyncio.CancelledError:
            state, error = BulkRunState.FAILED, _ENDED
            raise
        except Exception as caught:  # noqa: BLE001
            # The edge of a background job: one that fails must not end the others.
            state, error = BulkRunState.FAILED, _reason(caught)
        finally:
            self._under_way -= 1
            final = replace(latest[0], state=state, error=error, updated_ms=runs.now_ms())
            _note(final)
            self._changed()
            try:
                async with asyncio.timeout(_SECONDS_TO_SAVE):
                    await runs.save(final)
            except (TimeoutError, DulyError):
                # Its record falls silent, and readers take it for failed.
                structlog.get_logger("duly.monitor.bulk").warning(
                    "Bulk operation's end not recorded", bulk=final.id
                )

    async def _run(self, order: BulkOrder, latest: list[BulkRunReport]) -> tuple[BulkRunState, str]:
        runs, plan = self._inspector.bulk_runs, order.plan
        size = min(CHUNK, order.per_second or CHUNK)
        error = ""
        for start in range(0, len(plan.tasks), size):
            if await runs.stopped(latest[0].id):
                return BulkRunState.STOPPED, error
            chunk = replace(plan, tasks=plan.tasks[start : start + size])
            went = await self._inspector.bulk.execute(chunk, outcome=order.outcome)
            now, error = latest[0], went.error or error
            latest[0] = replace(
                now,
                updated_ms=runs.now_ms(),
                done=now.done + went.done,
                gone=now.gone + went.gone,
                failed=now.failed + went.failed,
                error=error,
            )
            await runs.save(latest[0])
            if order.per_second:
                await asyncio.sleep(len(chunk.tasks) / order.per_second)
        return BulkRunState.DONE, error


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DulyError) else type(error).__name__


def _note(report: BulkRunReport) -> None:
    log = structlog.get_logger("duly.monitor.bulk")
    level = log.warning if report.state is BulkRunState.FAILED else log.info
    level(
        "Bulk operation ended", bulk=report.id, operation=report.operation, by=report.by,
        state=report.state.value, total=report.total, done=report.done, gone=report.gone,
        failed=report.failed,
    )  # fmt: skip
