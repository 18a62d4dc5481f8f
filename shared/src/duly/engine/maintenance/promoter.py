"""The promoter: moves scheduled and retry tasks to the stream when they are due."""

from datetime import timedelta

from duly.engine.storage.store import Store
from duly.errors import BrokerError

LONGEST_REST = timedelta(seconds=1)


class Promoter:
    """Promotes what is due, and rests until the next task is due, a second at most.

    Any number of promoters may serve a queue: a promotion is atomic.
    """

    def __init__(self, store: Store, queue: str, *, longest_rest: timedelta = LONGEST_REST) -> None:
        self._store, self._queue, self._longest_rest = store, queue, longest_rest

    async def run_once(self) -> timedelta:
        """Promote one batch; return how long to rest, zero while more is due.

        Raises:
            BrokerError: Some could not be promoted, and are due again a minute later.
        """
        promoted, due_in_ms, problem = await self._store.promote(self._queue)
        if problem:
            raise BrokerError(f"tasks of queue {self._queue} cannot be promoted: {problem}")
        if promoted and due_in_ms == 0:
            return timedelta(0)
        if due_in_ms < 0:
            return self._longest_rest
        return min(timedelta(milliseconds=due_in_ms), self._longest_rest)
