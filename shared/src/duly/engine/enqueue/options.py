"""The options of a call that enqueues, checked: what a worker could not obey is refused here."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from duly.clock import NaiveDatetimeError, to_ms, to_unix_ms
from duly.engine.storage.codec import ID_LIMIT
from duly.errors import InvalidOptionError
from duly.job import LONGEST_DURATION, MOST_ATTEMPTS, is_name
from duly.task import OWN_HEADERS

_LONGEST_GROUP = 128
_YEARS = LONGEST_DURATION.days // 365
_LAST_MS = 253_402_214_400_000
"""The last day that a datetime can hold, in any time zone."""


def queue_name(name: object) -> str:
    """Return the name of a queue.

    Raises:
        InvalidOptionError: It is none.
    """
    if not isinstance(name, str) or not is_name(name):
        remedy = "use 1 to 64 of a-z, 0-9, '_', '.' and '-'"
        raise InvalidOptionError("queue", name, "is not the name of a queue", remedy)
    return name


def identifier(option: str, value: object, limit: int = ID_LIMIT) -> str:
    """Return an id or a name that people read: printable, on one line.

    Raises:
        InvalidOptionError: It is none.
    """
    if not isinstance(value, str):
        raise InvalidOptionError(option, value, "is not text", "pass a str")
    if not 0 < len(value) <= limit:
        problem = f"has {len(value)} characters"
        raise InvalidOptionError(option, value, problem, f"use 1 to {limit} characters")
    if not value.isprintable():
        problem = "has a line break or another character that cannot be printed"
        raise InvalidOptionError(option, value, problem, "use printable characters")
    if value in (".", ".."):
        problem = "means a folder in an address, so that no browser could ask for it"
        raise InvalidOptionError(option, value, problem, "use another")
    if value.endswith("/message"):
        problem = "is the address of the message of another task at the monitor"
        raise InvalidOptionError(option, value, problem, "use another ending than /message")
    return value


def group_name(value: object) -> str:
    """Return the name of a group. Raises as `identifier`."""
    return identifier("group", value, _LONGEST_GROUP)


def attempts(value: object) -> int:
    """Return a number of attempts.

    Raises:
        InvalidOptionError: It is not a whole number, or not within 1 to 1,000.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionError("max_attempts", value, "is not a whole number", "pass an int")
    if not 1 <= value <= MOST_ATTEMPTS:
        problem = f"is not within 1 to {MOST_ATTEMPTS}"
        raise InvalidOptionError("max_attempts", value, problem, "1 means: no second attempt")
    return value


def duration_ms(option: str, value: object, *, positive: bool = False) -> int:
    """Return a duration in whole ms.

    Args:
        option: Its name.
        value: What was given.
        positive: Whether zero is refused, and what rounds to it.

    Raises:
        InvalidOptionError: It is no timedelta, below zero, or longer than a hundred years.
    """
    if not isinstance(value, timedelta):
        raise InvalidOptionError(option, value, "is not a duration", "pass a timedelta")
    if value < timedelta(0):
        raise InvalidOptionError(option, value, "is negative", "pass a positive timedelta")
    if value > LONGEST_DURATION:
        problem = f"is longer than {_YEARS} years"
        raise InvalidOptionError(option, value, problem, "pass a shorter timedelta")
    ms = to_ms(value)
    if not ms and (positive or value):
        problem = "is less than a millisecond"
        raise InvalidOptionError(option, value, problem, "leave it out for the policy's")
    return ms


def instant_ms(option: str, value: object) -> int:
    """Return an instant in ms since 1970; one before that is 0.

    Raises:
        InvalidOptionError: It is no datetime, or one without a time zone.
    """
    if not isinstance(value, datetime):
        raise InvalidOptionError(option, value, "is not an instant", "pass an aware datetime")
    try:
        return min(max(0, to_unix_ms(value)), _LAST_MS)
    except NaiveDatetimeError:
        problem, remedy = "has no time zone", "pass an aware one, such as datetime.now(UTC)"
        raise InvalidOptionError(option, value, problem, remedy) from None
    except (OverflowError, ValueError):
        problem = "is beyond what can be stored"
        raise InvalidOptionError(option, value, problem, "use a year before 9999") from None


def header_map(value: object) -> dict[str, str]:
    """Return headers, without those that duly itself writes.

    These are left out and not refused: a handler may hand on all headers of its own task.

    Raises:
        InvalidOptionError: They are not a map of text to text.
    """
    if not isinstance(value, Mapping):
        raise InvalidOptionError("headers", value, "is not a map", "pass a dict of str to str")
    for name, text in value.items():
        if not _is_text(name) or not _is_text(text):
            problem = "is not text with a name that is text"
            raise InvalidOptionError(f"headers[{name!r:.80}]", text, problem, "pass str for both")
    return {name: text for name, text in value.items() if not name.startswith(OWN_HEADERS)}


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
