"""A store whose next calls fail as in an outage, without stopping a broker."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Self

from typing_extensions import override

from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.engine.transport.packing import Head
from duly.errors import BrokerDownError
from duly.runtime.settings import RedisSettings


class _FailingConnection(Connection):
    """A connection whose next calls fail, before or after the broker has executed them."""

    left = 0
    executed = False

    async def _answer(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401
        if not self.left:
            return await call
        self.left -= 1
        if self.executed:
            await call
        else:
            # Never awaited, so that the call does not reach the broker.
            getattr(call, "close", lambda: None)()
        raise BrokerDownError(self.address, "simulated by this test")

    @override
    async def command(self, *args: Any) -> Any:
        return await self._answer(super().command(*args))

    @override
    async def many(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        answers: list[Any] = await self._answer(super().many(commands))
        return answers

    @override
    async def script(
        self, sha: str, text: str, keys: tuple[str, ...], args: Any, head: Head | None = None
    ) -> Any:
        return await self._answer(super().script(sha, text, keys, args, head))


class OutageStore(Store):
    """A store for `Client(store)` or `Inspector(store)` whose next calls can be made to fail."""

    connection: _FailingConnection

    @classmethod
    @asynccontextmanager
    @override
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`."""
        async with _FailingConnection.open(settings) as connection:
            yield cls(connection)

    def fail_next(self, calls: int = 1, *, executed: bool = False) -> None:
        """Make the next calls raise `BrokerDownError`; 0 ends the outage.

        Enqueueing retries a failed call once, so that a single failure goes unnoticed.

        Args:
            calls: The number of round trips that fail.
            executed: The broker executes the call, and only its reply is lost.
        """
        self.connection.left, self.connection.executed = calls, executed

    @property
    def left(self) -> int:
        """The number of calls that will still fail."""
        return self.connection.left
