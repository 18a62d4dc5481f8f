"""What a log has lost: counted for the metrics, and told in the log itself once it goes on."""

import threading
from collections.abc import Callable


class Loss:
    """Counts lines that were dropped, and writes that failed. Safe to use from any thread.

    Args:
        line: Makes the log line that tells a number of dropped lines.
    """

    def __init__(self, line: Callable[[int], str]) -> None:
        self._line, self._lock = line, threading.RLock()
        self.lines = self.errors = 0
        self._untold = 0

    def form_by(self, line: Callable[[int], str]) -> None:
        """Make the log line in another way from now on."""
        self._line = line

    def add(self, data: bytes) -> None:
        """Count the lines of `data` as dropped."""
        count = data.count(b"\n")
        with self._lock:
            self.lines += count
            self._untold += count

    def failed(self) -> None:
        """Count a write that failed."""
        with self._lock:
            self.errors += 1

    def take(self) -> int:
        """Return how many lines were dropped that no line has told yet; they count as told now."""
        with self._lock:
            count, self._untold = self._untold, 0
        return count

    def give_back(self, count: int) -> None:
        """Count lines of `take` as not told after all."""
        with self._lock:
            self._untold += count

    def line(self, count: int) -> str:
        """Return the log line that tells a number of dropped lines; empty for none."""
        return self._line(count) if count else ""
