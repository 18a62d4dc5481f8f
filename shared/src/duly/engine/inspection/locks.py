"""Unique locks: who holds which, and until when."""

from duly.clock import LAST_MS, from_unix_ms
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.decoding import text_map
from duly.engine.storage.reports import LockPage, LockReport

_PART = 500
MOST = 10_000
"""Locks looked at for one listing."""


class Locks:
    """The unique locks that tasks hold."""

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._store = known, known.store

    async def list(self, queue: str, *, most: int = MOST) -> LockPage:
        """Return the unique locks of a queue, those that expire first first.

        Args:
            queue: Its name.
            most: Locks to look at; with more there, the page says that it is not complete.

        Raises:
            NotFoundError: No such queue.
        """
        keys = await self._known.keys(queue)
        found: dict[str, LockReport] = {}
        now_ms, cursor, seen = self._store.now_ms(), b"0", 0
        while True:
            cursor, part = await self._store.connection.command(
                "HSCAN", keys.locks, cursor, "COUNT", _PART
            )
            for digest, value in text_map(part).items():
                seen += 1
                ends, _, task_id = value.partition(b" ")
                ends_ms = int(ends) if ends.isdigit() and len(ends) <= len(str(LAST_MS)) else 0
                if now_ms < ends_ms <= LAST_MS:
                    found[digest] = LockReport(
                        digest=digest,
                        task_id=task_id.decode(errors="replace"),
                        expires_at=from_unix_ms(ends_ms),
                    )
            if cursor == b"0" or seen >= most:
                break
        locks = sorted(found.values(), key=lambda lock: (lock.expires_at, lock.digest))
        return LockPage(locks=tuple(locks[:most]), complete=cursor == b"0" and len(locks) <= most)
