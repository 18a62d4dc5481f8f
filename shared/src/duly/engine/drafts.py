"""Writes what handlers call their result so far: the last word of each, about once a second."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from duly.engine import scripts
from duly.engine.attempt import Running
from duly.engine.keys import queue_keys
from duly.engine.store import Store
from duly.errors import BrokerError
from duly.task import TaskContext

_EVERY = 1.0
_AT_ONCE = 16
"""Drafts in one script: each may take 256 KiB."""


class Drafts:
    """The drafts of one server. It sleeps until a handler writes one.

    Args:
        store: Where they are written.
        running: Gives what runs now.
    """

    def __init__(self, store: Store, running: Callable[[], list[Running]]) -> None:
        self._store, self._running = store, running
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._noticed = False
        # By the attempt: entries of two queues may have the same id.
        self._written: dict[Running, bytes] = {}

    def noticed(self, _: TaskContext) -> None:
        """Have a look soon. May be called from any thread, as often as a handler likes."""
        if not self._noticed and self._loop is not None:
            self._noticed = True
            with suppress(RuntimeError):  # the loop is closed: the worker has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Write until cancelled. What the broker does not take now is tried again."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Before the look: what is written after it is noticed anew.
            self._noticed = False
            try:
                await self._write()
            except BrokerError:
                self._wake.set()  # it is told elsewhere that the broker is away
            await asyncio.sleep(_EVERY)

    async def _write(self) -> None:
        current: dict[Running, bytes] = {}
        news: dict[str, list[tuple[Running, bytes]]] = {}
        for running in self._running():
            draft = running.context.draft
            if draft is None:
                continue
            if self._written.get(running) is draft:
                current[running] = draft
            else:
                news.setdefault(running.queue, []).append((running, draft))
        self._written = current
        for queue, drafts in news.items():
            for start in range(0, len(drafts), _AT_ONCE):
                part = drafts[start : start + _AT_ONCE]
                # Refused ones are not repeated: their tasks have ended, or are others' by now.
                rows = [(one.delivery.entry, one.context.id, draft) for one, draft in part]
                await self._store.run(scripts.draft(queue_keys(queue), rows))
                current.update(part)
