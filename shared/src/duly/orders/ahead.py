"""Reads the next page while the caller works on one: its rows arrive meanwhile, all at once."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from duly.orders.page import Page


@asynccontextmanager
async def read_ahead(pages: AsyncGenerator[Page, None]) -> AsyncIterator["PagesAhead"]:
    """Give the pages, of which one more than is worked on is read, and close them afterwards."""
    ahead = PagesAhead(pages)
    try:
        yield ahead
    finally:
        await ahead.close()


class PagesAhead:
    """An iterator over pages, each of which is asked for when the one before is handed out.

    A driver reads rows as they come, in pieces of 8 KB from PostgreSQL, and the event loop wakes
    for each. While the caller forms a page's lines they all arrive: a wake-up or two are left, and
    the database works at the same time.
    """

    def __init__(self, pages: AsyncGenerator[Page, None]) -> None:
        self._pages = pages
        self._next: asyncio.Task[Page | None] | None = None

    def __aiter__(self) -> "PagesAhead":
        return self

    async def __anext__(self) -> Page:
        """Return the next page.

        Raises:
            Exception: As the source does.
        """
        page = await (self._next or self._ask())
        if page is None:
            self._next = None
            raise StopAsyncIteration
        self._next = self._ask()
        # The statement leaves now; the caller works on this page without giving way.
        await asyncio.sleep(0)
        return page

    async def close(self) -> None:
        """Read no further."""
        task, self._next = self._next, None
        if task is not None:
            task.cancel()
            # Nobody asked for that page: why it cannot be read is of no interest any more.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._pages.aclose()

    def _ask(self) -> "asyncio.Task[Page | None]":
        return asyncio.create_task(self._read())

    async def _read(self) -> Page | None:
        return await anext(self._pages, None)
