"""Compares what this server owns in the broker with what it knows, and has the rest taken up.

The broker may hand out a task on a connection that the server has given up: the task is active
then, and belongs to a server that lives, so that nobody else ever recovers it.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

import structlog

from duly.engine.storage.keys import GROUP, queue_keys
from duly.engine.storage.store import Store
from duly.engine.worker.holdings import Holdings
from duly.errors import BrokerError
from duly.runtime.supervision import Beat, unwatched

EVERY_SECONDS: Final = 4.0
_IDLE_MS: Final = 3_000
"""What was delivered more recently than this may still be on its way here."""
_ORPHANED_AFTER: Final = 15.0
"""Seconds after its delivery at which a task that nobody runs counts as orphaned."""
_PAGE: Final = 1_000


class Reconciler:
    """Looks every few seconds for tasks that are this server's and that it does not know.

    Args:
        store: The broker.
        queues: Names of the queues.
        server: Whose tasks are looked for.
        holdings: What this server knows it has.
        leased: Tells of a queue whether this server's lease stands.
        take_up: Called with a queue some of whose tasks are to be taken up.
    """

    def __init__(
        self,
        store: Store,
        queues: Iterable[str],
        *,
        server: str,
        holdings: Holdings,
        leased: Callable[[str], bool],
        take_up: Callable[[str], None],
    ) -> None:
        self._store, self._queues, self._server = store, tuple(queues), server
        self._holdings, self._leased, self._take_up = holdings, leased, take_up
        self._delivered: dict[str, dict[bytes, float]] = {queue: {} for queue in self._queues}
        """Queue → stream id of an unknown task → when it was delivered, on the monotonic clock."""
        self._log = structlog.get_logger("duly.engine")

    def orphaned(self, queue: str) -> int:
        """Count tasks that the broker calls active here and that nobody runs. For any thread."""
        before = monotonic() - _ORPHANED_AFTER
        return sum(delivered < before for delivered in self._delivered[queue].copy().values())

    async def run(self, beat: Beat = unwatched) -> None:
        """Look, until cancelled; beat before each queue."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            for queue in self._queues:
                beat()
                if self._leased(queue):
                    await self._look(queue)

    async def _look(self, queue: str) -> None:
        # Before asking: what is settled meanwhile is in the answer, and no longer held.
        held = self._holdings.ids(queue)
        try:
            owned = await self._owned(queue)
        except BrokerError:
            return  # whoever reads the queue reports it
        now = monotonic()
        held |= self._holdings.ids(queue)
        unknown = {
            stream_id: now - idle_ms / 1000
            for stream_id, idle_ms in owned.items()
            if stream_id not in held
        }
        known = self._delivered[queue]
        fresh = unknown.keys() - known.keys()
        self._delivered[queue] = {
            stream_id: known.get(stream_id, delivered) for stream_id, delivered in unknown.items()
        }
        if fresh:
            self._log.warning(
                "Taking up tasks whose delivery never arrived", queue=queue, tasks=len(fresh)
            )
        if unknown:
            self._take_up(queue)

    async def _owned(self, queue: str) -> dict[bytes, int]:
        """Return what this server has owned for a while: stream id → ms since its delivery."""
        found: dict[bytes, int] = {}
        after = "-"
        while True:
            rows = await self._store.connection.command(
                "XPENDING", queue_keys(queue).stream, GROUP, "IDLE", _IDLE_MS,
                after, "+", _PAGE, self._server,
            )  # fmt: skip
            found |= {row[0]: int(row[2]) for row in rows}
            if len(rows) < _PAGE:
                return found
            after = f"({rows[-1][0].decode()}"
