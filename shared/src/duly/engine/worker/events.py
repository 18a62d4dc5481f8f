"""What happens in a worker that others have to act on: one object, passed to all its parts."""

from datetime import timedelta


class WorkerEvents:
    """Receives what the parts of a worker report; the server acts on it. This base does nothing.

    Every method is called in the event loop, returns at once, and raises nothing.
    """

    def task_due(self, queue: str, wait: timedelta) -> None:
        """A task of the queue was scheduled or will be retried: it is due after `wait`."""

    def outbox_filled(self, queue: str) -> None:
        """Successors for other queues lie in the queue's outbox."""

    def broker_failed(self, call: str, error: Exception) -> None:
        """The broker did not answer a call; the caller retries. `call` names it: "read default"."""

    def broker_answered(self, call: str) -> None:
        """The broker answered a call; counts for calls of the same name only."""
