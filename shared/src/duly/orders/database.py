"""The orders database of a worker: loaded, opened and only read by the first check.

SQLAlchemy and its drivers cost 24 MB and some tenths of a second, which a worker that checks no
orders does not pay.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from typing import TYPE_CHECKING, Self

from duly.extras import require
from duly.orders.address import check_file, read_address
from duly.orders.page import Page
from duly.orders.source import Sweep
from duly.orders.view import View
from duly.runtime.settings import DatabaseSettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


class Database:
    """A database of orders, opened when it is first used, for the handlers of one event loop."""

    def __init__(self, view: View, stack: AsyncExitStack) -> None:
        self.view = view
        self._stack = stack
        self._opening = asyncio.Lock()
        self._engine: AsyncEngine | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, view: View | DatabaseSettings) -> AsyncIterator[Self]:
        """Check the address, and close afterwards what was opened.

        Args:
            view: What to read and how; or the database alone, to be read as it is usual.

        Raises:
            ConfigError: The address is wrong.
            MissingExtraError: SQLAlchemy is not installed.
        """
        require("the check of pending orders", "sqlalchemy")
        view = view if isinstance(view, View) else View(database=view)
        check_file(read_address(view.database, view.key), view.key)
        async with AsyncExitStack() as stack:
            yield cls(view, stack)

    async def engine(self) -> "AsyncEngine":
        """Return the engine; the first call loads SQLAlchemy and opens it."""
        if self._engine is not None:
            return self._engine
        # The imports run in a thread, so that the event loop continues meanwhile.
        open_engine = await asyncio.to_thread(_load)
        async with self._opening:
            if self._engine is None:
                opened = open_engine(self.view.database, read_only=True, key=self.view.key)
                self._engine = await self._stack.enter_async_context(opened)
            return self._engine


class OrdersDatabase(Database):
    """The source of orders that reads our own tables."""

    async def pages(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        """Yield the pending orders, in pages: see `duly.orders.queries.pending_pages`.

        Raises:
            ConfigError: There is no schema, or a different one.
            OrdersDownError: The database cannot be read.
        """
        engine = await self.engine()
        from duly.orders.queries import pending_pages
        from duly.orders.session import explained

        with explained(self.view.database, self.view.key):
            async with aclosing(pending_pages(engine, sweep, self.view)) as pages:
                async for page in pages:
                    yield page

    async def bounds(self, parts: int, smallest: int) -> list[int]:
        """Return the last id of each part but the last: see `duly.orders.shards.Divisible`."""
        engine = await self.engine()
        from duly.orders.queries import bounds
        from duly.orders.session import explained

        with explained(self.view.database, self.view.key):
            return await bounds(engine, parts, smallest, self.view)


def _load() -> "Callable[..., AbstractAsyncContextManager[AsyncEngine]]":
    from duly.orders import queries, session

    del queries  # Loaded for the first page, which is read next.
    return session.open_engine
