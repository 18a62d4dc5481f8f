"""The mover: makes scheduled and retry tasks wait when they are due."""

from datetime import timedelta

from duly.engine.store import Store

LONGEST_REST = timedelta(seconds=1)


class Mover:
    """Moves what is due, and rests until the next is due, a second at most.

    Any number of movers may serve a queue: a move is atomic.
    """

    def __init__(self, store: Store, queue: str, *, longest_rest: timedelta = LONGEST_REST) -> None:
        self._store, self._queue, self._longest_rest = store, queue, longest_rest

    async def turn(self) -> timedelta:
        """Move one batch; return how long to rest, zero while more is due."""
        moved, due_in_ms = await self._store.move(self._queue)
        if moved and due_in_ms == 0:
            return timedelta(0)
        if due_in_ms < 0:
            return self._longest_rest
        return min(timedelta(milliseconds=due_in_ms), self._longest_rest)
