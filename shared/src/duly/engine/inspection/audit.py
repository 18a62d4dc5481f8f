"""The audit: who did what, in the order in which it happened. Records are added, never changed."""

from datetime import timedelta
from typing import Any

import msgspec

from duly.clock import from_unix_ms
from duly.encodable import encodable
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.pages import check_limit, stream_id
from duly.engine.storage.decoding import entry_instant, text_map
from duly.engine.storage.keys import AUDIT
from duly.engine.storage.reports import AuditPage, AuditRecord

KEPT_RECORDS = 100_000
KEPT_AGE = timedelta(days=365)
LONGEST_TEXT = 1_000
"""Characters of one text of a record; longer ones are cut."""


class _Stored(msgspec.Struct, omit_defaults=True):
    """A record as it is written: one JSON object, without its time, which the broker gives."""

    user: str
    action: str
    result: str
    role: str = ""
    target: str = ""
    filter: str = ""
    count: int | None = None
    reason: str = ""
    detail: str = ""
    request_id: str = ""
    peer: str = ""


_FIELDS = _Stored.__struct_fields__


class AuditTrail:
    """What people and programs did through a monitor: appended to, listed, bounded."""

    def __init__(self, known: KnownQueues) -> None:
        self._store = known.store

    async def append(
        self, record: AuditRecord, *, most: int = KEPT_RECORDS, age: timedelta = KEPT_AGE
    ) -> None:
        """Add a record; its time is the broker's. Not idempotent.

        Args:
            record: What happened.
            most: Records that are kept, about: the oldest go first.
            age: How long a record is kept at least; then it goes with the next one that is added.

        Raises:
            BrokerError: The user of the broker may not write, or its memory is full.
        """
        stored = _Stored(**{name: _short(getattr(record, name)) for name in _FIELDS})
        data = msgspec.json.encode(stored)
        oldest = max(0, self._store.now_ms() - round(age.total_seconds() * 1000))
        await self._store.connection.many(
            [
                ("XADD", AUDIT, "MAXLEN", "~", most, "*", "data", data),
                ("XTRIM", AUDIT, "MINID", "~", oldest),
            ]
        )

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> AuditPage:
        """Return records, the newest first.

        Args:
            limit: Most records of the page, 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            ValueError: The limit is out of bounds, or the cursor is none of this list.
        """
        check_limit(limit)
        top = "+" if cursor is None else f"({stream_id(cursor)}"
        found = await self._store.connection.command("XREVRANGE", AUDIT, top, "-", "COUNT", limit)
        records = [_record(entry, fields) for entry, fields in found]
        more = found[-1][0].decode() if len(found) == limit else None
        return AuditPage(records=tuple(record for record in records if record), next_cursor=more)


def _short(value: Any) -> Any:  # noqa: ANN401 - a field of a record
    return encodable(value[:LONGEST_TEXT]) if isinstance(value, str) else value


def _record(entry: bytes, fields: Any) -> AuditRecord | None:  # noqa: ANN401
    """Return what was written; None for what is no record: whoever wrote it was no monitor."""
    try:
        stored = msgspec.json.decode(text_map(fields).get("data") or b"", type=_Stored)
    except msgspec.DecodeError:
        return None
    facts = {name: getattr(stored, name) for name in _FIELDS}
    at = entry_instant(entry) or from_unix_ms(0)
    return AuditRecord(id=entry.decode(), at=at, **facts)
