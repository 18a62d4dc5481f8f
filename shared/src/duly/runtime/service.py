"""The life of a service: started on a fast loop, stopped by signals, with loops that recur."""

import asyncio
import gc
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from duly.clock import Clock, SystemClock
from duly.errors import BrokerDownError, BrokerError, BrokerWriteError, DulyError
from duly.runtime.loopfailures import LoopFailures
from duly.runtime.strayerrors import ContextThreads, log_in_context
from duly.runtime.supervision import Supervisor, ends_the_loop

_COLLECT_AFTER: Final = (20_000, 20, 50)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 0.05

RunOnce = Callable[[], Awaitable[timedelta | None]]
"""Does a bit of work; returns how long to rest until the next one, None for as long as usual."""


def _calm_the_collector() -> None:
    """Look for cycles of garbage seldom, and not at all among what was imported.

    A task makes a few objects, none of them a cycle; Python's default looks through the young ones
    every 700, a sixth of a worker's time per task.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run a service until it returns, and return its exit code; 1 for an unexpected error.

    SIGTERM and SIGINT set the event that `main` is given, however often they come. From the end
    of `main` on this process ignores both, so that a late one cannot spoil the exit code.

    Raises:
        DulyError: As `main` does.
    """
    _calm_the_collector()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(log_in_context)
            loop.set_default_executor(ContextThreads(thread_name_prefix="asyncio"))
            return _run_through(loop, _until_signalled(main))
    except DulyError:
        raise
    except Exception as error:  # noqa: BLE001 - the process's edge, and it logs
        alone: BaseException = error
        while isinstance(alone, BaseExceptionGroup) and len(alone.exceptions) == 1:
            alone = alone.exceptions[0]
        if isinstance(alone, DulyError):
            raise alone from None
        structlog.get_logger("duly.service").exception("Service failed")
        return 1


def _run_through(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, int]) -> int:
    """Run to the end of `main`, also when foreign code wants to end the loop before.

    asyncio raises an exit of a callback out of the loop, and somebody may call `loop.stop()`. The
    loop can go on after both: nothing else of it has been lost.
    """
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            own = task.done() and not task.cancelled() and task.exception() is error
            if own or loop.is_closed():
                raise
            structlog.get_logger("duly.service").error(
                "A callback wanted to end the process, going on", exc_info=error
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on this platform: asyncio's own loop does the same, slower
        return None
    return uvloop.new_event_loop


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        return await main(stop)
    finally:
        # The loop would restore the defaults, by which one more signal kills.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def signal_handlers(calls: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Call a function in the loop at each of these signals, for the body of a `with`.

    Args:
        calls: Name of a signal → function; signals that this platform lacks are passed over.
    """
    loop = asyncio.get_running_loop()
    numbers = {getattr(signal, name): call for name, call in calls.items() if hasattr(signal, name)}
    for number, call in numbers.items():
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Outage:
    """Logs once that the broker is unreachable, and once that it is back; a service has one.

    Args:
        on_error: Called for each failed call.
        remind: Log again after this long that the broker is unreachable; None: only once.
        clock: Measures how long the outage lasted.
    """

    def __init__(
        self,
        *,
        on_error: Callable[[], None] = lambda: None,
        remind: timedelta | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._on_error, self._remind, self._clock = on_error, remind, clock or SystemClock()
        self._since: float | None = None
        self._said = 0.0
        self._log = structlog.get_logger("duly.service")

    def failed(self, error: BrokerError) -> None:
        """Note a failed call."""
        self._on_error()
        now = self._clock.monotonic()
        first = self._since is None
        if first:
            self._since = now
        again = self._remind is not None and now - self._said >= self._remind.total_seconds()
        if first or again:
            self._said = now
            self._log.error("Broker unreachable, retrying", error=str(error))

    def ended(self) -> None:
        """Note a call that succeeded."""
        if self._since is not None:
            seconds = round(self._clock.monotonic() - self._since, 3)
            self._since = None
            self._log.info("Broker reachable again", after_seconds=seconds)


async def repeat(
    run_once: RunOnce,
    *,
    name: str,
    every: timedelta,
    stop: asyncio.Event,
    outage: Outage | None = None,
    on_error: Callable[[BaseException], None] = lambda _: None,
    supervisor: Supervisor | None = None,
) -> None:
    """Run again and again until `stop` is set: the one loop for everything that recurs.

    A broker that is down or takes no writes is reported to the outage, and the run is repeated
    soon, with a growing, jittered pause of two seconds at most. Any other error, whatever its
    class, is logged, once a minute while it lasts, and the loop continues after `every`. When
    `stop` is set, a run has 50 ms to end before it is cancelled.

    Args:
        run_once: Called again and again, never twice at a time.
        name: Names the loop in the log and to the supervisor.
        every: How long to rest after a run that returns None.
        stop: Ends the loop.
        outage: Receives the broker's errors; None: one of this loop alone.
        on_error: Called with each unexpected error, to count it.
        supervisor: Receives a beat before each run and each rest, so that `/livez` fails when a
            run takes longer than the supervisor's bound; None: nobody watches.
    """
    loop = _Loop(run_once, name, every, stop, outage or Outage(), on_error, supervisor)
    try:
        await ending(stop, loop.run())
    finally:
        loop.forget()


async def retry_until_success(
    call: Callable[[], Awaitable[None]], *, stop: asyncio.Event, outage: Outage
) -> None:
    """Return when `call` has succeeded for the first time, or `stop` is set.

    Pauses between the tries as `repeat` does; any other error than a `BrokerError` is raised.
    """

    async def tries() -> None:
        failures = 0
        while not stop.is_set():
            try:
                await call()
            except BrokerError as error:
                outage.failed(error)
                await rest(stop, _backoff(failures))
                failures += 1
            else:
                outage.ended()
                return

    await ending(stop, tries())


async def ending(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, and cancel it 50 ms after `stop` was set if it has not ended by then."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        stopping = group.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait({working}, timeout=_GRACE_SECONDS)
        working.cancel()


async def rest(stop: asyncio.Event, duration: timedelta) -> None:
    """Rest for a while, or until `stop` is set."""
    try:
        async with asyncio.timeout(max(0.0, duration.total_seconds())):
            await stop.wait()
    except TimeoutError:
        return


@dataclass(frozen=True, slots=True)
class _Loop:
    """What `repeat` was given, and the loop over it."""

    run_once: RunOnce
    name: str
    every: timedelta
    stop: asyncio.Event
    outage: Outage
    on_error: Callable[[BaseException], None]
    supervisor: Supervisor | None

    async def run(self) -> None:
        retries, failures = 0, LoopFailures(self.name)
        while not self.stop.is_set():
            self._beat(timedelta(0))
            pause: timedelta | None = self.every
            try:
                pause = await self.run_once()
            except (BrokerDownError, BrokerWriteError) as error:
                self.outage.failed(error)
                pause = _backoff(retries)
                retries += 1
            except BaseException as error:
                if ends_the_loop(error):
                    raise
                failures.failed(error)
                self.on_error(error)
            else:
                self.outage.ended()
                failures.succeeded()
                retries = 0
            pause = self.every if pause is None else pause
            self._beat(pause)
            await rest(self.stop, pause)

    def forget(self) -> None:
        if self.supervisor is not None:
            self.supervisor.forget(self.name)

    def _beat(self, pause: timedelta) -> None:
        if self.supervisor is not None:
            self.supervisor.beat(self.name, rest=pause)


def _backoff(failures: int) -> timedelta:
    ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(failures, 10))
    return timedelta(seconds=ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
