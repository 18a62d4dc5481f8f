"""What one task reports before its end: progress and partial results, once a second at most."""

import threading
from collections.abc import Callable
from typing import Final

from duly.clock import SystemClock
from duly.encodable import encodable
from duly.engine.worker.processes.messages import Note
from duly.task import TaskContext

_EVERY_SECONDS: Final = 1.0
"""A loop may report its progress a million times a second."""


class Notes:
    """Sends the reports of one task: at once, but once a second at most. For any thread.

    Args:
        number: Of the task in its process.
        send: Sends a note to the worker.
    """

    def __init__(self, number: int, send: Callable[[Note], None]) -> None:
        self._number, self._send, self._clock = number, send, SystemClock()
        self._lock = threading.Lock()
        self._sent_at = -_EVERY_SECONDS
        self._unsent: TaskContext | None = None
        self._timer: threading.Timer | None = None
        self._closed = False

    def take(self, context: TaskContext) -> None:
        """Take what a context reports; within a second, the last report counts."""
        with self._lock:
            if self._closed:
                return
            self._unsent = context
            wait = self._sent_at + _EVERY_SECONDS - self._clock.monotonic()
            if wait <= 0:
                self._flush()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._due)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> Note | None:
        """Return what has not been sent; what is reported from now on is dropped."""
        with self._lock:
            self._closed = True
            context, self._unsent = self._unsent, None
            return self._note_of(context) if context is not None else None

    def forked(self) -> None:
        """Drop everything in a process that a handler forked: it has no worker to report to."""
        self._lock, self._closed = threading.Lock(), True

    def _due(self) -> None:
        with self._lock:
            self._timer = None
            self._flush()

    def _flush(self) -> None:
        context, self._unsent = self._unsent, None
        if context is not None:
            self._sent_at = self._clock.monotonic()
            self._send(self._note_of(context))

    def _note_of(self, context: TaskContext) -> Note:
        reported, partial_result = context.reported, context.partial_result
        return Note(
            number=self._number,
            fraction=reported.fraction if reported else None,
            note=encodable(reported.note) if reported else "",
            partial_result=partial_result.decode() if partial_result is not None else None,
        )
