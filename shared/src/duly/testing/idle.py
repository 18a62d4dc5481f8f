"""Runs jobs until nothing is left to do, for tests of handlers together with the queue."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from typing_extensions import override

from duly.app.declaration import App
from duly.app.serving import serving
from duly.clock import to_ms
from duly.engine.inspection.inspector import Inspector
from duly.engine.middleware import Ended, Middleware, Outcome
from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.engine.worker.server import Server, ServerOptions
from duly.engine.worker.taskiq_broker import Handler
from duly.errors import NotFoundError
from duly.job import Job
from duly.runtime.settings import DEFAULT_QUEUES, QueueSettings, RedisSettings, Settings
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
    handlers: Mapping[type[Job], Handler] | App,
    *,
    configuration: Settings | None = None,
    skip: timedelta | FrozenClock = FOREVER,
    concurrency: int = 10,
    timeout: float = 30.0,  # noqa: ASYNC109 - its error shows what was seen
) -> list[Ran]:
    """Run a server in this process until nothing waits, runs or is due; return what ran.

    It serves every existing queue, and the queues of the jobs that have handlers here. Retries and
    delays do not wait: what is due within `skip` runs at once, with its attempts counted.

    Args:
        settings: The broker.
        handlers: The handler of each job, or an application.
        configuration: What an application reads; None: the defaults.
        skip: How much time to skip; a frozen clock: as much as it was advanced. Default: all.
        concurrency: Attempts that run at once.
        timeout: Seconds that it may take.

    Returns:
        The attempts, in the order in which they ended.

    Raises:
        NotInTimeError: Something was always left to do: a paused queue, a task that enqueues
            itself, a handler that hangs.
    """
    notes, stop = _Notes(), asyncio.Event()
    async with Inspector.connect(settings) as inspector, Store.open(settings) as store:
        known = {report.name for report in await inspector.queues.list()}
        app = handlers if isinstance(handlers, App) else None
        jobs = handlers.kinds.values() if isinstance(handlers, App) else handlers.keys()
        queues = known | {job.policy.queue for job in jobs} or {"default"}
        options = ServerOptions(
            queues=dict.fromkeys(sorted(queues), 1), concurrency=concurrency, drain=_DRAIN
        )
        read = _configuration(settings, app, queues) if configuration is None else configuration
        middlewares = (notes, *(app.middlewares if app is not None else ()))
        async with (
            Server.open(settings, options, middlewares=middlewares) as server,
            _handled(handlers, server, read, stop),
        ):
            working = asyncio.ensure_future(server.run(stop))
            try:
                async with asyncio.timeout(timeout):
                    await _idle(inspector, store, queues, skip, working)
            except TimeoutError:
                left = [await inspector.queues.get(queue) for queue in sorted(queues)]
                raise NotInTimeError("nothing left to do", timeout, left) from None
            finally:
                stop.set()
                await working
    return notes.ran


@asynccontextmanager
async def _handled(
    handlers: Mapping[type[Job], Handler] | App,
    server: Server,
    configuration: Settings,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    """Register what runs the tasks."""
    if isinstance(handlers, App):
        async with serving(handlers, server, configuration, stop):
            yield
        return
    for job, handler in handlers.items():
        server.handle(job, handler)
    yield


def _configuration(broker: RedisSettings, app: App | None, queues: Iterable[str]) -> Settings:
    own: object = {}
    if app is not None and app.settings_model is not None:
        own = app.settings_model()
    served = {queue: QueueSettings() for queue in queues}
    return Settings(redis=broker, settings=own, queues={**DEFAULT_QUEUES, **served})


async def _idle(
    inspector: Inspector,
    store: Store,
    queues: set[str],
    skip: timedelta | FrozenClock,
    working: "asyncio.Future[None]",
) -> None:
    async def look() -> list[tuple[int, int]]:
        reports = [await inspector.queues.get(queue) for queue in sorted(queues)]
        return [(report.waiting + report.active, report.processed) for report in reports]

    async def empty() -> bool:
        if working.done():
            working.result()
        try:
            first = await look()
            # Queues are read one after the other: a task may end in the last one and leave its
            # successor in the first. Nothing moved in between if a second look sees the same.
            return not any(held for held, _ in first) and first == await look()
        except NotFoundError:  # the server has not begun yet
            return False

    moving = True
    while moving:
        moving = await until(empty, timeout=FOREVER)
        skipped = timedelta(seconds=skip.monotonic()) if isinstance(skip, FrozenClock) else skip
        moved = 0
        for queue in queues:
            now_ms = store.now_ms() + to_ms(skipped)
            moved += (await store.run(scripts.promote(queue_keys(queue), now_ms=now_ms)))[0]
        moving = moved > 0
