"""How often somebody may fail to log in: some times freely, then ever more slowly.

It is counted in this process, for the sender together with the name that is tried, and for the
sender whatever the names. With several replicas, each counts what it sees.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from duly.clock import Clock
from duly_monitor.peers import address_of

FREE: Final = 5
"""Failures with one name that cost nothing."""
FREE_OF_ONE_SENDER: Final = 20
FIRST_WAIT_SECONDS: Final = 2.0
LONGEST_WAIT_SECONDS: Final = 900.0
_FORGOTTEN_SECONDS = 3_600.0
_MOST = 10_000
"""Senders that are remembered; those who have been quiet longest are forgotten first."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: float = -math.inf

    def wait(self, now: float, free: int) -> float:
        """Return the seconds until another attempt is looked at."""
        if self.count < free:
            return 0.0
        # The exponent is bounded: a float has no 2 ** 10,000.
        seconds = FIRST_WAIT_SECONDS * 2.0 ** min(self.count - free, 20)
        return max(0.0, self.last + min(seconds, LONGEST_WAIT_SECONDS) - now)


class Attempts:
    """Remembers failed log-ins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str | None], _Failures] = OrderedDict()

    def wait(self, peer: str, user: str) -> int:
        """Return the whole seconds until an attempt is looked at; 0: now."""
        now = self._clock.monotonic()
        waits = (
            self._failures[key].wait(now, free)
            for key, free in _keys(peer, user)
            if key in self._failures
        )
        return math.ceil(max(waits, default=0.0))

    def failed(self, peer: str, user: str) -> None:
        """Count a failure."""
        now = self._clock.monotonic()
        for key, _ in _keys(peer, user):
            known = self._failures.pop(key, None)
            if known is None or now - known.last > _FORGOTTEN_SECONDS:
                known = _Failures()
            known.count, known.last = known.count + 1, now
            self._failures[key] = known
        while len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def succeeded(self, peer: str, user: str) -> None:
        """Forget the failures with this name; those of the sender with other names remain."""
        (key, _), _ = _keys(peer, user)
        self._failures.pop(key, None)


_Key = tuple[str, str | None]


def _keys(peer: str, user: str) -> tuple[tuple[_Key, int], tuple[_Key, int]]:
    sender = _sender(peer)
    return ((sender, user[:64]), FREE), ((sender, None), FREE_OF_ONE_SENDER)


def _sender(peer: str) -> str:
    """Return who an address counts as: of IPv6, one customer has a network of 64 bits."""
    address = address_of(peer)
    if address is None or address.version == 4:  # noqa: PLR2004
        return peer
    return address.exploded[:19]
