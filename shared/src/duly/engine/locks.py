"""Unique locks: who holds which, and until when."""

from duly.clock import from_unix_ms
from duly.engine import scripts
from duly.engine.keys import QueueKeys
from duly.engine.replies import text_map
from duly.engine.reports import LockPage, LockReport
from duly.engine.store import Store

_PART = 500
MOST = 10_000
"""Locks looked at for one listing."""
_LAST_MS = 253_402_300_799_000


class Locks:
    """Lists the locks of queues, and drops those whose time is over."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, keys: QueueKeys, *, most: int = MOST) -> LockPage:
        """See `Inspector.locks`."""
        found: dict[str, LockReport] = {}
        now_ms, cursor, seen = self._store.now_ms(), b"0", 0
        while True:
            cursor, part = await self._store.connection.command(
                "HSCAN", keys.locks, cursor, "COUNT", _PART
            )
            for digest, value in text_map(part).items():
                seen += 1
                ends, _, task_id = value.partition(b" ")
                ends_ms = int(ends) if ends.isdigit() and len(ends) <= len(str(_LAST_MS)) else 0
                if now_ms < ends_ms <= _LAST_MS:
                    found[digest] = LockReport(
                        digest=digest,
                        task_id=task_id.decode(errors="replace"),
                        expires_at=from_unix_ms(ends_ms),
                    )
            if cursor == b"0" or seen >= most:
                break
        locks = sorted(found.values(), key=lambda lock: (lock.expires_at, lock.digest))
        return LockPage(locks=tuple(locks[:most]), complete=cursor == b"0" and len(locks) <= most)

    async def sweep(self, keys: QueueKeys, cursor: bytes) -> tuple[bytes, int]:
        """Drop locks whose time is over in a part of them; return where to go on (b"0": done)."""
        after, dropped = await self._store.run(scripts.sweep(keys, cursor=cursor, most=_PART))
        return bytes(after), int(dropped)
