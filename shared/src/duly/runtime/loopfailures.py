"""The log of a background loop that fails: the first failure, one line a minute, the recovery."""

from typing import Final

import structlog

from duly.clock import Clock, SystemClock
from duly.errors import DulyError

_REMIND_SECONDS: Final = 60.0


class LoopFailures:
    """Logs the failures of one loop, so that one that fails each second does not flood the log.

    Args:
        loop: Its name.
        clock: Measures the minute, by its monotonic time.
    """

    def __init__(self, loop: str, *, clock: Clock | None = None) -> None:
        self.loop, self._clock = loop, clock or SystemClock()
        self._count = 0
        self._kind: type[BaseException] | None = None
        self._logged_at = 0.0
        self._log = structlog.get_logger("duly.service")

    def failed(self, error: BaseException) -> None:
        """Note a failure; log it if it is of another class than the last, or a minute has gone."""
        now = self._clock.monotonic()
        self._count += 1
        if type(error) is self._kind and now - self._logged_at < _REMIND_SECONDS:
            return
        self._kind, self._logged_at = type(error), now
        fields = {"loop": self.loop, "failures": self._count}
        if isinstance(error, DulyError):
            self._log.error("Background loop failed, retrying", **fields, error=str(error))
        else:
            self._log.error("Background loop failed, retrying", **fields, exc_info=error)

    def succeeded(self) -> None:
        """Note a success; log it if it is the first after failures."""
        if self._count:
            self._log.info("Background loop recovered", loop=self.loop, failures=self._count)
            self._count, self._kind = 0, None
