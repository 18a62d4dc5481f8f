"""Run jobs until nothing is left to do: for tests of handlers with the queue around them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from typing_extensions import override

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.broker import Handler
from duly.engine.inspector import Inspector
from duly.engine.keys import queue_keys
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.engine.server import Server, ServerOptions
from duly.engine.store import Store
from duly.errors import NotFoundError
from duly.job import Job
from duly.runtime.settings import RedisSettings
from duly.testing.clock import FrozenClock
from duly.testing.waiting import NotInTimeError, until

FOREVER: Final = timedelta(days=36_500)
_DRAIN: Final = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Ran:
    """One attempt that ran, or an entry that was quarantined without a run."""

    id: str
    kind: str
    """Empty for a quarantined entry."""
    queue: str
    attempt: int
    outcome: Outcome
    error: BaseException | None = None


class _Notes(Middleware):
    def __init__(self) -> None:
        self.ran: list[Ran] = []

    @override
    def ended(self, end: Ended) -> None:
        it = end.context
        self.ran.append(Ran(it.id, it.kind, it.queue, it.attempt, end.outcome, end.error))

    @override
    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        error = ValueError(reason)
        self.ran.append(Ran(task_id, "", queue, 0, Outcome.QUARANTINED, error))


async def run_until_idle(
    settings: RedisSettings,
    handlers: Mapping[type[Job], Handler],
    *,
    skip: timedelta | FrozenClock = FOREVER,
    concurrency: int = 10,
    timeout: float = 30.0,  # noqa: ASYNC109 - it ends with an error that tells what was seen
) -> list[Ran]:
    """Run a server in this process until nothing waits, runs or is due; return what ran.

    It serves every queue that exists and those of the jobs it is given handlers for. Nobody waits
    for retries and delays: what is due within `skip` runs at once, with its attempts counted.

    Args:
        settings: The broker.
        handlers: What runs each kind of job.
        skip: How much time to skip; a frozen clock: as much as it was advanced. By default all.
        concurrency: Attempts at once.
        timeout: Seconds that it may take.

    Returns:
        The attempts, in the order in which they ended.

    Raises:
        NotInTimeError: There was always something to do: a paused queue, a task that enqueues
            itself, a handler that hangs.
    """
    notes, stop = _Notes(), asyncio.Event()
    async with Inspector.connect(settings) as inspector, Store.open(settings) as store:
        known = {report.name for report in await inspector.queues()}
        queues = known | {job.policy.queue for job in handlers}
        options = ServerOptions(
            queues=dict.fromkeys(sorted(queues), 1), concurrency=concurrency, drain=_DRAIN
        )
        async with Server.open(settings, options, middlewares=(notes,)) as server:
            for job, handler in handlers.items():
                server.handle(job, handler)
            working = asyncio.ensure_future(server.run(stop))
            try:
                async with asyncio.timeout(timeout):
                    await _idle(inspector, store, queues, skip, working)
            except TimeoutError:
                left = [await inspector.queue(queue) for queue in sorted(queues)]
                raise NotInTimeError("nothing left to do", timeout, left) from None
            finally:
                stop.set()
                await working
    return notes.ran


async def _idle(
    inspector: Inspector,
    store: Store,
    queues: set[str],
    skip: timedelta | FrozenClock,
    working: "asyncio.Future[None]",
) -> None:
    async def empty() -> bool:
        if working.done():
            working.result()
        try:
            reports = [await inspector.queue(queue) for queue in queues]
        except NotFoundError:  # the server has not begun yet
            return False
        return all(report.waiting == report.active == 0 for report in reports)

    going_on = True
    while going_on:
        going_on = await until(empty, timeout=FOREVER)
        skipped = timedelta(seconds=skip.monotonic()) if isinstance(skip, FrozenClock) else skip
        moved = 0
        for queue in queues:
            now_ms = store.now_ms() + to_ms(skipped)
            moved += (await store.run(scripts.move(queue_keys(queue), now_ms=now_ms)))[0]
        going_on = moved > 0
