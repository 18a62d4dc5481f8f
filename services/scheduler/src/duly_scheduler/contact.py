"""When the broker last answered: what the scheduler's readiness is made of."""

from datetime import timedelta
from typing import Final

from duly.clock import Clock

SILENCE: Final = timedelta(seconds=10)
"""Not ready after so long without an answer."""


class Contact:
    """Remembers the last answer. May be asked from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: float | None = None

    def heard(self) -> None:
        """Note an answer."""
        self._heard = self._clock.monotonic()

    def missing(self) -> str | None:
        """Return None while the broker answers, else why this is not so."""
        if self._heard is None:
            return "the broker has not answered yet"
        silence = self._clock.monotonic() - self._heard
        if silence > SILENCE.total_seconds():
            return f"the broker has not answered for {silence:.0f} s"
        return None
