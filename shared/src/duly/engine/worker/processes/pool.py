"""Runs plain functions in processes, for what threads cannot give: a hard end, and a core each.

A child is started at first use, reused, and released when it has been idle for a minute or has run
a thousand tasks. What the two exchange: `duly.engine.worker.processes.messages`.
"""

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

import msgspec

from duly.clock import Clock, to_unix_ms
from duly.engine.worker.processes.handle import ProcessHandle
from duly.engine.worker.processes.messages import Broker, Facts, Run, Tell
from duly.engine.worker.processes.tracing import tell_of_span
from duly.job import Job
from duly.payload import form_of
from duly.task import TaskContext

GRACE: Final = timedelta(seconds=5)
"""Between a task's timeout, which its handler can see, and the end of its process."""
_TASKS_EACH: Final = 1_000
_IDLE_SECONDS: Final = 60.0


class HardTimeoutError(TimeoutError):
    """A handler's process was ended because its time was over."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a child is to run, by names that it can import."""

    handler: str
    job: str
    hard_timeout: timedelta | None
    """None: the attempt's timeout and five seconds."""

    @classmethod
    def of(cls, job: type[Job], handler: object, hard_timeout: timedelta | None) -> Self:
        """Return the target for a handler.

        Raises:
            TypeError: A child cannot import it.
        """
        if inspect.iscoroutinefunction(handler):
            raise TypeError(
                f"{handler!r} is a coroutine function: only plain ones run in processes"
            )
        return cls(_importable(handler), _importable(job), hard_timeout)


def _importable(thing: Any) -> str:  # noqa: ANN401
    module, path = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec is not None else ""
    if not (module and path and found is thing):
        raise TypeError(f"{thing!r} runs in a process: it must be a name at the top of a module")
    return f"{module}:{path}"


class Processes:
    """The children of one server: as many as tasks run in them at once, and no more.

    Args:
        now_ms: The broker's time.
        clock: This machine's.
        broker: Returns where handlers enqueue, asked when a child starts; None: nowhere.
        tasks_each: Tasks after which a child is replaced, whatever it has leaked.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        clock: Clock,
        broker: Callable[[], Broker] | None = None,
        tasks_each: int = _TASKS_EACH,
    ) -> None:
        self._now_ms, self._clock, self._tasks_each = now_ms, clock, tasks_each
        self._broker = broker
        self._children: set[ProcessHandle] = set()
        self._idle: list[ProcessHandle] = []
        self._pending: set[asyncio.Task[Any]] = set()
        self._stopping = self._closed = False

    def pids(self) -> list[int]:
        """Return the processes that there are."""
        return [child.pid for child in self._children]

    async def run(
        self,
        target: Target,
        job: Job,
        context: TaskContext,
        *,
        timeout_s: float,
        keeps: bool,
        timed_out: Callable[[], bool],
    ) -> msgspec.Raw | None:
        """Return what the handler returns, as JSON, or raise what it raises.

        A handler that is cancelled for its timeout sees that in its context, and has until its hard
        end. For any other reason its process is ended now: by SIGTERM, which a handler sees as
        SystemExit, and by SIGKILL half a second later.

        Args:
            target: What to run.
            job: The payload.
            context: The task's; what the handler reports arrives in it.
            timeout_s: The attempt's timeout in seconds; 0: none.
            keeps: Whether the result is wanted.
            timed_out: Tells whether a cancelling is for the timeout.

        Raises:
            HardTimeoutError: The hard end came first.
            ProcessDiedError: The process died under the handler.
            RemoteError: The handler raised, by the name of its error.
        """
        request = self._request(target, job, context, keeps=keeps)
        child = await self._acquire()
        answer = child.submit(request, context)
        hard = _hard_seconds(target, timeout_s)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await asyncio.wait({answer}, timeout=hard)
        except asyncio.CancelledError:
            patience = max(0.0, begun + hard - loop.time()) if hard and timed_out() else 0.0
            await _cancel(child, answer, patience)
            raise
        else:
            if not answer.done():
                await _uninterrupted(child.kill())
                answer.exception()
                raise HardTimeoutError(f"not done within {hard:g} s: its process was ended")
            result = answer.result()
            return None if bytes(result) == b"null" else result
        finally:
            child.release()
            self._release(child)

    def stop(self) -> None:
        """Tell every handler that the worker stops."""
        self._stopping = True
        for child in self._children:
            child.send(Tell(stopping=True))

    async def close(self) -> None:
        """End every child, also those that are about to start; return when none is left."""
        self._stopping = self._closed = True
        for child in self._children:
            self._spawn(child.close())
        while self._pending:
            await asyncio.wait(self._pending)

    def _request(self, target: Target, job: Job, context: TaskContext, *, keeps: bool) -> Run:
        facts = Facts(**{name: getattr(context, name) for name in Facts.__struct_fields__})
        offset_ms = self._now_ms() - to_unix_ms(self._clock.now())
        payload = form_of(type(job)).to_json(job)
        run = Run(target.handler, target.job, payload, facts, offset_ms, keeps)
        tell_of_span(run)
        return run

    async def _acquire(self) -> ProcessHandle:
        while self._idle:
            child = self._idle.pop()
            if child.acquire():
                return child
        starting = self._spawn(self._start())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._not_needed)
            raise

    async def _start(self) -> ProcessHandle:
        child = await ProcessHandle.start(on_death=self._children.discard)
        self._children.add(child)
        if self._closed:
            await child.close()
        await child.ready()
        if self._broker is not None:
            child.send(self._broker())
        if self._stopping:
            child.send(Tell(stopping=True))
        return child

    def _not_needed(self, starting: "asyncio.Task[ProcessHandle]") -> None:
        if not starting.cancelled() and starting.exception() is None:
            self._release(starting.result())

    def _release(self, child: ProcessHandle) -> None:
        if child.dead:
            return
        if child.tasks >= self._tasks_each or self._stopping:
            self._spawn(child.close())
        else:
            self._idle.append(child)
            child.park(_IDLE_SECONDS, self._retire)

    def _retire(self, child: ProcessHandle) -> None:
        if child in self._idle:
            self._idle.remove(child)
            self._spawn(child.close())

    def _spawn(self, work: "Coroutine[Any, Any, Any]") -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task


def _hard_seconds(target: Target, timeout_s: float) -> float | None:
    if target.hard_timeout is not None:
        return target.hard_timeout.total_seconds()
    return timeout_s + GRACE.total_seconds() if timeout_s else None


async def _cancel(
    child: ProcessHandle, answer: asyncio.Future[msgspec.Raw], patience_s: float
) -> None:
    """Tell the handler of a cancelled task to end, and kill its process if it does not."""
    child.send(Tell(cancelled=True))
    # Cancelled once more, for another reason than its timeout: there is no time left.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait({answer}, timeout=patience_s)
    if not answer.done():
        await _uninterrupted(child.kill())
    if answer.done():
        answer.exception()  # whatever it was, the cancelling is what counts


async def _uninterrupted(work: "Coroutine[Any, Any, None]") -> None:
    """Await what must not be left half done, however often the caller is cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
