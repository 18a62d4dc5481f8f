"""Keeps exits inside: what an asyncio task raises must not end the loop in which all others run.

asyncio raises a `SystemExit` or `KeyboardInterrupt` of any of its tasks out of the event loop, and
with that ends the worker. A handler may start tasks of its own, so the worker's loop makes every
task of a coroutine that raises an ordinary error in place of these two.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from typing_extensions import override

from duly.errors import SubtaskExitError, describe

_EXITS = (SystemExit, KeyboardInterrupt)


@contextmanager
def exits_contained(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let no task that is made in a loop end it, for the body of a `with`.

    An `asyncio.Task` that is constructed by itself does not pass the loop's factory. The engine
    does that for the tasks in which it runs handlers: these have a barrier of their own.
    """
    before: Any = loop.get_task_factory()
    factory: Any = before if isinstance(before, _Factory) else _Factory(before)
    loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        now: Any = loop.get_task_factory()
        if now is factory and not factory.users:
            loop.set_task_factory(factory.before)


class _Factory:
    """Makes the tasks of a loop, by the factory that it had before. Several servers share one."""

    def __init__(self, before: Any) -> None:  # noqa: ANN401 - the typing of factories differs
        self.before, self.users = before, 0

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 - name and context, and whatever Python adds
    ) -> "asyncio.Future[Any]":
        contained = _Contained(work)
        if self.before is None:
            return asyncio.Task(contained, loop=loop, **options)
        made: asyncio.Future[Any] = self.before(loop, contained, **options)
        return made


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine step by step, without its exits.

    Not a coroutine function around it: one that is cancelled before it begins would leave the
    inner coroutine unawaited, of which Python warns.
    """

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - for those who print or inspect it
        return getattr(self._work, name)

    @override
    def send(self, value: Any) -> Any:
        try:
            return self._work.send(value)
        except _EXITS as error:
            raise SubtaskExitError(describe(error)) from error

    @override
    def throw(
        self,
        kind: "type[BaseException] | BaseException",
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        try:
            # The form with three arguments is deprecated; asyncio uses that with one.
            return self._work.throw(kind)
        except _EXITS as error:
            raise SubtaskExitError(describe(error)) from error

    @override
    def close(self) -> None:
        self._work.close()

    @override
    def __await__(self) -> Any:
        return self._work.__await__()
