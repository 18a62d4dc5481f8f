"""What is logged where foreign code has failed and duly goes on."""

from typing import Any

from duly.errors import describe


def log_failure(log: Any, event: str, error: BaseException, **fields: object) -> None:  # noqa: ANN401 - a structlog logger
    """Log an error with its traceback; without it where that cannot be formatted.

    An exception's attributes and `__repr__` are foreign code too, and formatters use them.
    """
    try:
        log.error(event, **fields, error=describe(error), exc_info=error)
    except BaseException:  # noqa: BLE001 - see above
        log.error(event, **fields, error=describe(error))  # noqa: TRY400 - see above
