"""The audit: who did what, in the order in which it happened. Records are added, never changed."""

from dataclasses import fields, replace
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
_GIVEN = frozenset({"id", "at"})
"""Fields that the broker gives: a record is written without them."""


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
        values = {
            field.name: _short(getattr(record, field.name))
            for field in fields(record)
            if field.name not in _GIVEN and getattr(record, field.name) != field.default
        }
        data = msgspec.json.encode(values)
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
        records = [_record(entry, written) for entry, written in found]
        more = found[-1][0].decode() if len(found) == limit else None
        return AuditPage(records=tuple(record for record in records if record), next_cursor=more)


def _short(value: Any) -> Any:  # noqa: ANN401 - a field of a record
    if isinstance(value, tuple):
        return [_short(item) for item in value]
    return encodable(value[:LONGEST_TEXT]) if isinstance(value, str) else value


def _record(entry: bytes, written: Any) -> AuditRecord | None:  # noqa: ANN401
    """Return what was written; None for what is no record: whoever wrote it was no monitor."""
    try:
        record = msgspec.json.decode(text_map(written).get("data") or b"", type=AuditRecord)
    except msgspec.DecodeError:
        return None
    return replace(record, id=entry.decode(), at=entry_instant(entry) or from_unix_ms(0))
