"""What this server holds: tasks that the broker has handed to it and whose end is not written."""

from collections.abc import Callable, Iterable, Sequence

from duly.engine.worker.limiter import Limiter
from duly.engine.worker.received import Received


class Holdings:
    """The stream ids that this server owns, by queue, with the permits of limited kinds.

    By queue, since two queues may give entries the same id within the same millisecond.

    Args:
        queues: Their names.
        limiter: Takes permits back.
        slot_freed: Called when a running task has ended.
    """

    def __init__(
        self, queues: Iterable[str], limiter: Limiter, *, slot_freed: Callable[[], None]
    ) -> None:
        self._ids: dict[str, set[bytes]] = {queue: set() for queue in queues}
        self._limiter = limiter
        self.slot_freed = slot_freed

    def __len__(self) -> int:
        """Return how many tasks are held."""
        return sum(map(len, self._ids.values()))

    def ids(self, queue: str) -> frozenset[bytes]:
        """Return the stream ids that are held of a queue."""
        return frozenset(self._ids[queue])

    def add(self, tasks: Iterable[Received]) -> None:
        """Hold tasks that were read."""
        for task in tasks:
            self._ids[task.queue].add(task.delivery.stream_id)

    def release(self, queue: str, stream_ids: Sequence[bytes]) -> None:
        """Let go of tasks whose outcome is written or that were requeued; return their permits."""
        self._ids[queue].difference_update(stream_ids)
        if self._limiter.holding:
            self._limiter.settled(queue, stream_ids)

    def lose(self, queue: str, stream_ids: Iterable[bytes]) -> None:
        """Forget tasks that other servers own now, and their permits with them."""
        for stream_id in stream_ids:
            self._ids[queue].discard(stream_id)
            self._limiter.holding.pop((queue, stream_id), None)
