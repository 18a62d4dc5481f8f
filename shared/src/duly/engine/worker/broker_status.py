"""Whether the broker answers: one line in the log when it stops, one when it answers again."""

import asyncio

import structlog
from typing_extensions import override

from duly.errors import BrokerError
from duly.runtime.service import Outage

_CALM_SECONDS = 1.0


class BrokerStatus:
    """Tracks an outage by the calls that fail, so that parts which still work do not end it.

    It is over once each call that failed has been answered, and none has failed for a second:
    errors of calls that were sent before may come late. Belongs to the event loop.

    Args:
        address: The broker's, for the log.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._failing: set[str] = set()
        self._ending: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger("duly.engine")

    def failed(self, call: str, error: Exception) -> None:
        """Note that a call failed; the first one of an outage is logged."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        elif not self._failing:
            self._log.error("Broker unreachable, retrying", call=call, error=str(error))
        self._failing.add(call)

    def answered(self, call: str) -> None:
        """Note that a call was answered; where it was the last one that failed, the outage ends."""
        if call in self._failing:
            self._failing.discard(call)
            if not self._failing:
                loop = asyncio.get_running_loop()
                self._ending = loop.call_later(_CALM_SECONDS, self._ended)

    def _ended(self) -> None:
        self._ending = None
        self._log.info("Broker reachable again", broker=self._address)

    def outage(self, call: str) -> Outage:
        """Return what a loop of `duly.runtime.service` reports its broker's errors to."""
        return _Part(self, call)


class _Part(Outage):
    """One loop's share in the outage."""

    def __init__(self, status: BrokerStatus, call: str) -> None:
        super().__init__()
        self._status, self._call = status, call

    @override
    def failed(self, error: BrokerError) -> None:
        self._status.failed(self._call, error)

    @override
    def ended(self) -> None:
        self._status.answered(self._call)
