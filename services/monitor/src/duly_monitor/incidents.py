"""Unexpected errors: logged with their traceback, and named by an id that a page shows."""

import hashlib
import traceback
from collections import OrderedDict
from datetime import timedelta

import structlog

from duly.clock import Clock, SystemClock
from duly_monitor.redaction import mask_text

_QUIET = timedelta(minutes=1)
"""The traceback of one and the same error is logged this often at most: live pages repeat it."""
_MOST = 256
"""Errors that are remembered."""


class Incidents:
    """Gives errors ids: the same error at the same place has the same id."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._logged: OrderedDict[str, float] = OrderedDict()

    def record(self, error: BaseException, **where: object) -> str:
        """Log an error with its traceback, unless that was done a moment ago; return its id.

        Args:
            error: What was raised.
            where: Fields for the log, such as the path of a request.
        """
        incident, now = identify(error), self._clock.monotonic()
        last = self._logged.get(incident)
        if last is None or now - last >= _QUIET.total_seconds():
            self._logged[incident] = now
            self._logged.move_to_end(incident)
            # Not exc_info: what an error quotes of a payload is masked in the log as on a page.
            text = "".join(traceback.format_exception(error))
            structlog.get_logger("duly.monitor").error(
                "Request failed", incident=incident, traceback=mask_text(text), **where
            )
        while len(self._logged) > _MOST:
            self._logged.popitem(last=False)
        return incident


def identify(error: BaseException) -> str:
    """Return the id of an error: eight hexadecimal digits, by its class and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames]
    return hashlib.sha256("\0".join([type(error).__name__, *places]).encode()).hexdigest()[:8]
