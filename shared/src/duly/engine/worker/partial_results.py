"""Writes the partial results of running handlers: the latest of each, about once a second."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.engine.worker.attempt import RunningAttempt
from duly.errors import BrokerError
from duly.runtime.supervision import Beat, unwatched
from duly.task import TaskContext

_EVERY = 1.0
_AT_ONCE = 16
"""Partial results in one script: each may take 256 KiB."""


class PartialResults:
    """The partial results of one server. Sleeps until a handler writes one.

    Args:
        store: Where they are written.
        running: Gives what runs now.
    """

    def __init__(self, store: Store, running: Callable[[], list[RunningAttempt]]) -> None:
        self._store, self._running = store, running
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._noticed = False
        self._beat: Beat = unwatched
        # By the attempt: entries of two queues may have the same id.
        self._written: dict[RunningAttempt, bytes] = {}

    def noticed(self, _: TaskContext) -> None:
        """Look soon. May be called from any thread, as often as a handler likes."""
        if not self._noticed and self._loop is not None:
            self._noticed = True
            with suppress(RuntimeError):  # the loop is closed: the worker has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def wake(self) -> None:
        """Let `run` look whether there is something to write."""
        self._wake.set()

    async def run(self, beat: Beat = unwatched) -> None:
        """Write until cancelled. What the broker does not take now is retried.

        Args:
            beat: Called whenever it moves, and before each write.
        """
        self._loop, self._beat = asyncio.get_running_loop(), beat
        self._wake.set()  # run again after an error, it has something to write
        while True:
            beat()
            await self._wake.wait()
            self._wake.clear()
            # Before looking: what is written afterwards is noticed again.
            self._noticed = False
            try:
                await self._write()
            except BrokerError:
                self._wake.set()  # the outage is logged elsewhere
            await asyncio.sleep(_EVERY)

    async def _write(self) -> None:
        current: dict[RunningAttempt, bytes] = {}
        news: dict[str, list[tuple[RunningAttempt, bytes]]] = {}
        for running in self._running():
            partial_result = running.context.partial_result
            if not isinstance(partial_result, bytes):
                continue  # there is none, or the handler has written into its context
            if self._written.get(running) is partial_result:
                current[running] = partial_result
            else:
                news.setdefault(running.queue, []).append((running, partial_result))
        self._written = current
        for queue, partial_results in news.items():
            for start in range(0, len(partial_results), _AT_ONCE):
                self._beat()
                part = partial_results[start : start + _AT_ONCE]
                # Refused ones are not repeated: their tasks have ended, or are others' by now.
                rows = [
                    (one.delivery.stream_id, one.message.task_id, partial_result)
                    for one, partial_result in part
                ]
                await self._store.run(scripts.write_partial_results(queue_keys(queue), rows))
                current.update(part)
