"""Instants that the runs of a job note for those that follow, whichever worker has them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.keys import notes_key

_BATCH: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
"""Instants are scores in these: whole numbers that a double still holds."""


class Notes:
    """Topic → name → instant. A note only ever moves forward, so that many may write it."""

    def __init__(self, known: KnownQueues) -> None:
        self._store = known.store

    async def read(self, topic: str, names: Sequence[str]) -> dict[str, datetime]:
        """Return name → instant, of those names that are noted.

        Args:
            topic: What the notes are about, such as a kind of job in a queue.
            names: Any number.
        """
        found: dict[str, datetime] = {}
        for start in range(0, len(names), _BATCH):
            part = names[start : start + _BATCH]
            scores = await self._store.connection.command("ZMSCORE", notes_key(topic), *part)
            found |= {
                name: _EPOCH + int(float(score)) * _MICROSECOND
                for name, score in zip(part, scores, strict=True)
                if score is not None
            }
        return found

    async def write(
        self, topic: str, instants: Mapping[str, datetime], *, most: int, keep: timedelta
    ) -> None:
        """Note instants; those beyond the bound are left out.

        Args:
            topic: As in `read`.
            instants: Name → instant. A later one that is noted already stays.
            most: Notes that a topic has at most, about.
            keep: How long a topic is kept after it was written to last.
        """
        key, command = notes_key(topic), self._store.connection.command
        room = max(0, most - int(await command("ZCARD", key)))
        names = islice(instants, room)
        while part := list(islice(names, _BATCH)):
            words: list[Any] = []
            for name in part:
                words += ((instants[name] - _EPOCH) // _MICROSECOND, name)
            await command("ZADD", key, "GT", *words)
        await command("PEXPIRE", key, keep // timedelta(milliseconds=1))

    async def forget(self, topic: str, *, before: datetime) -> None:
        """Drop the notes of earlier instants.

        Args:
            topic: As in `read`.
            before: The earliest instant that stays.
        """
        end = f"({(before - _EPOCH) // _MICROSECOND}"
        await self._store.connection.command("ZREMRANGEBYSCORE", notes_key(topic), "-inf", end)
