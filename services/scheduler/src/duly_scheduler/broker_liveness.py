"""When the broker last answered, which decides whether the scheduler is ready."""

from datetime import timedelta
from typing import Final

from duly.clock import Clock

SILENCE: Final = timedelta(seconds=10)
"""A scheduler without an answer for this long is not ready."""


class BrokerLiveness:
    """Remembers the last answer. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: float | None = None

    def answered(self) -> None:
        """Record an answer."""
        self._last = self._clock.monotonic()

    def missing(self) -> str | None:
        """Return None while the broker answers, else the reason why the scheduler is not ready."""
        if self._last is None:
            return "the broker has not answered yet"
        silence = self._clock.monotonic() - self._last
        if silence > SILENCE.total_seconds():
            return f"the broker has not answered for {silence:.0f} s"
        return None
