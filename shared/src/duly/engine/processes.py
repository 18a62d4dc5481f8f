"""Runs plain functions in processes, for what threads can not give: a hard end, and its own core.

A child is started at first use, reused, and let go when it has been idle for a minute or has run
a thousand tasks. How it is spoken to: `duly.engine.child`.
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
from duly.engine.child import Facts, Run, Tell
from duly.engine.offspring import Offspring
from duly.job import Job
from duly.task import TaskContext

GRACE: Final = timedelta(seconds=5)
"""Between a task's timeout, which its handler can see, and the end of its process."""
_TASKS_EACH: Final = 1_000
_IDLE_SECONDS: Final = 60.0


class HardTimeoutError(TimeoutError):
    """A handler's process was ended since its time was over."""


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
            TypeError: A child can not import it.
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
        tasks_each: Tasks after which a child is replaced, whatever it has leaked.
    """

    def __init__(
        self, now_ms: Callable[[], int], *, clock: Clock, tasks_each: int = _TASKS_EACH
    ) -> None:
        self._now_ms, self._clock, self._tasks_each = now_ms, clock, tasks_each
        self._children: set[Offspring] = set()
        self._idle: list[Offspring] = []
        self._errands: set[asyncio.Task[Any]] = set()
        self._stopping = False

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

        Cancelled for its timeout, the handler is told and has until its hard end; for any other
        reason its process is ended now: SIGTERM, which a handler sees as SystemExit, and SIGKILL
        half a second later.

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
        child = await self._take()
        answer = child.begin(self._request(target, job, context, keeps=keeps), context)
        hard = _hard_seconds(target, timeout_s)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await asyncio.wait({answer}, timeout=hard)
        except asyncio.CancelledError:
            patience = max(0.0, begun + hard - loop.time()) if hard and timed_out() else 0.0
            await _give_up(child, answer, patience)
            raise
        else:
            if not answer.done():
                await _to_the_end(child.kill())
                answer.exception()
                raise HardTimeoutError(f"not done within {hard:g} s: its process was ended")
            result = answer.result()
            return None if bytes(result) == b"null" else result
        finally:
            child.rest()
            self._give_back(child)

    def stop(self) -> None:
        """Tell every handler that the worker stops."""
        self._stopping = True
        for child in self._children:
            child.tell(Tell(stopping=True))

    async def close(self) -> None:
        """End every child; returns when none is left."""
        self._stopping = True
        while self._errands:
            await asyncio.wait(self._errands)
        if self._children:
            await asyncio.wait([asyncio.ensure_future(child.end()) for child in self._children])

    def _request(self, target: Target, job: Job, context: TaskContext, *, keeps: bool) -> Run:
        facts = Facts(**{name: getattr(context, name) for name in Facts.__struct_fields__})
        offset_ms = self._now_ms() - to_unix_ms(self._clock.now())
        return Run(target.handler, target.job, job.model_dump_json(), facts, offset_ms, keeps)

    async def _take(self) -> Offspring:
        while self._idle:
            child = self._idle.pop()
            if child.wake():
                return child
        starting = self._errand(self._start())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._not_needed)
            raise

    async def _start(self) -> Offspring:
        child = await Offspring.start(on_death=self._children.discard)
        self._children.add(child)
        if self._stopping:
            child.tell(Tell(stopping=True))
        return child

    def _not_needed(self, starting: "asyncio.Task[Offspring]") -> None:
        if not starting.cancelled() and starting.exception() is None:
            self._give_back(starting.result())

    def _give_back(self, child: Offspring) -> None:
        if child.dead:
            return
        if child.tasks >= self._tasks_each or self._stopping:
            self._errand(child.end())
        else:
            self._idle.append(child)
            child.sleep(_IDLE_SECONDS, self._retire)

    def _retire(self, child: Offspring) -> None:
        if child in self._idle:
            self._idle.remove(child)
            self._errand(child.end())

    def _errand(self, work: "Coroutine[Any, Any, Any]") -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task


def _hard_seconds(target: Target, timeout_s: float) -> float | None:
    if target.hard_timeout is not None:
        return target.hard_timeout.total_seconds()
    return timeout_s + GRACE.total_seconds() if timeout_s else None


async def _give_up(
    child: Offspring, answer: asyncio.Future[msgspec.Raw], patience_s: float
) -> None:
    """Have a cancelled task's handler come to an end."""
    child.tell(Tell(cancelled=True))
    # Cancelled once more, for a better reason than its timeout: there is no time any more.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait({answer}, timeout=patience_s)
    if not answer.done():
        await _to_the_end(child.kill())
    if answer.done():
        answer.exception()  # whatever it was, the cancelling is what counts


async def _to_the_end(work: "Coroutine[Any, Any, None]") -> None:
    """Await what must not be left half done, however often this is cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
