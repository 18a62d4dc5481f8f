"""The janitor: keeps what is kept within its bounds of count and age, a batch at a time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.keys import queue_keys
from duly.engine.store import Store

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of the dead letters is kept."""

    max_count: int = 10_000
    max_age: timedelta = timedelta(days=90)


class Janitor:
    """Drops archived and quarantined tasks beyond their bounds, and completed ones past retention.

    What it drops of the archive is counted: the loss is never silent.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        bounds: Bounds | None = None,
        every: timedelta = timedelta(seconds=10),
    ) -> None:
        self._store, self._queue, self._every = store, queue, every
        self._bounds = bounds or Bounds()

    async def turn(self) -> timedelta:
        """Drop one batch of each; return how long to rest, zero while there is more."""
        full = False
        for state in ("archived", "quarantined", "completed"):
            full = await self._prune(state) >= _BATCH or full
        return timedelta(0) if full else self._every

    async def _prune(self, state: Literal["archived", "quarantined", "completed"]) -> int:
        kept_by_score = state == "completed"
        call = scripts.prune(
            queue_keys(self._queue),
            state,
            max_age_ms=0 if kept_by_score else to_ms(self._bounds.max_age),
            max_count=-1 if kept_by_score else self._bounds.max_count,
            count_as="" if kept_by_score else f"{state}_dropped",
            most=_BATCH,
        )
        return int(await self._store.run(call))
