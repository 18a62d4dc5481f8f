"""The broker's time between two answers that carry it, without the steps of any wall clock."""

from duly.clock import Clock, to_unix_ms

_LARGE_MS = 5_000
_CONFIRMED_SECONDS = 30.0
_SLACK_MS = 50
"""How far one sample may correct at least: answers take unequal times."""


class BrokerTime:
    """Shows the broker's time by this machine's monotonic clock, corrected by each sample.

    Until the first sample it is this machine's wall clock, as it was at the beginning: later steps
    of that clock change nothing. A sample corrects at most by the time since the last one, and
    what it shows never goes back meanwhile. So a broker whose clock jumps for some seconds does not
    take deadlines with it. A difference of more than five seconds that lasts for half a minute is
    the new truth (the broker failed over, or this machine was suspended) and is adopted whole.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._offset_ms = to_unix_ms(clock.now()) - clock.monotonic() * 1000
        self._shown_ms = 0
        self._sampled: float | None = None
        self._differs_since: float | None = None

    def now_ms(self) -> int:
        """Return the broker's time in ms since 1970. Good to a network delay."""
        now_ms = int(self._monotonic() * 1000 + self._offset_ms)
        if now_ms < self._shown_ms:
            return self._shown_ms
        self._shown_ms = now_ms
        return now_ms

    def saw(self, broker_ms: int) -> None:
        """Take a sample: what the broker's clock has just shown."""
        instant = self._monotonic()
        error_ms = broker_ms - (instant * 1000 + self._offset_ms)
        sampled, self._sampled = self._sampled, instant
        if sampled is None or self._confirmed(instant, error_ms):
            self._offset_ms += error_ms
            self._shown_ms = 0
            self._differs_since = None
            return
        most_ms = (instant - sampled) * 1000 + _SLACK_MS
        self._offset_ms += min(max(error_ms, -most_ms), most_ms)

    def _confirmed(self, instant: float, error_ms: float) -> bool:
        """Return whether a large difference has lasted long enough to be believed."""
        if abs(error_ms) <= _LARGE_MS:
            self._differs_since = None
            return False
        if self._differs_since is None:
            self._differs_since = instant
        return instant - self._differs_since >= _CONFIRMED_SECONDS
