"""A store whose next calls fail, as they do when the broker is away: without a broker to stop."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Self

from typing_extensions import override

from duly.engine.connection import Connection
from duly.engine.store import Store
from duly.errors import BrokerDownError
from duly.runtime.settings import RedisSettings


class _Unsteady(Connection):
    """A connection of which the next calls fail, before or after the broker has obeyed."""

    left = 0
    obeyed = False

    async def _answer(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401
        if not self.left:
            return await call
        self.left -= 1
        if self.obeyed:
            await call
        else:
            # Never awaited: the call does not reach the broker.
            getattr(call, "close", lambda: None)()
        raise BrokerDownError(self.address, "an outage of this test")

    @override
    async def command(self, *args: Any) -> Any:
        return await self._answer(super().command(*args))

    @override
    async def many(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        answers: list[Any] = await self._answer(super().many(commands))
        return answers

    @override
    async def script(self, sha: str, text: str, keys: tuple[str, ...], args: Any) -> Any:
        return await self._answer(super().script(sha, text, keys, args))


class OutageStore(Store):
    """A store for `Client(store)` or `Inspector(store)` whose next calls can be made to fail."""

    connection: _Unsteady

    @classmethod
    @asynccontextmanager
    @override
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`."""
        async with _Unsteady.open(settings) as connection:
            yield cls(connection)

    def fail_next(self, calls: int = 1, *, obeyed: bool = False) -> None:
        """Make the next calls raise `BrokerDownError`; 0 ends the outage.

        An enqueue whose call fails is tried once more, so one failure goes unnoticed.

        Args:
            calls: How many round trips to the broker fail.
            obeyed: The broker does what it is asked, and only its reply is lost.
        """
        self.connection.left, self.connection.obeyed = calls, obeyed

    @property
    def left(self) -> int:
        """How many calls will still fail."""
        return self.connection.left
