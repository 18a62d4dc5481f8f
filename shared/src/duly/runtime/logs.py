"""Configures logging: one event, one line, in one format for all loggers.

Our own code uses `structlog.get_logger()`; records of the standard `logging` module, from WARNING
on, are written in the same format, and so are errors that nobody awaits. A traceback is escaped
into the last field of its line, so that every collector gets whole lines. Only unexpected errors
are logged with a traceback.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from typing_extensions import override

from duly.clock import Clock
from duly.errors import describe
from duly.runtime.attemptlog import with_attempt
from duly.runtime.loglevels import OURS, LogLevels
from duly.runtime.output import Output
from duly.runtime.settings import LogSettings
from duly.runtime.strayerrors import log_stray_errors

_LONGEST_TRACEBACK: Final = 16_384
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(
    settings: LogSettings,
    *,
    service: str,
    stream: TextIO | None = None,
    clock: Clock | None = None,
    direct: bool = False,
) -> Output:
    """Send all logging of this process to `stream`, and return its output.

    Args:
        settings: The level of our own lines, and the format of all lines.
        service: The name of this service, in every JSON line.
        stream: None: standard output.
        clock: The source of timestamps; None: the system clock.
        direct: Write at once and wait for the reader, instead of through a buffer and a thread.
    """
    output = Output(
        settings, service=service, stream=stream, clock=clock, direct=direct, previous=current()
    )
    # Where no file may change a level, what is below it costs no more than the call.
    lowest = logging.DEBUG if settings.levels_file else output.level
    structlog.configure(
        processors=[
            _Filter(output.levels),
            structlog.contextvars.merge_contextvars,
            _Renderer(output),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=_Factory(output),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Handler(output)], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    log_stray_errors()
    if settings.levels_file:
        output.levels.look()
        output.levels.watch(lambda: current() is output)
    return output


def starting(settings: LogSettings, message: str, *, service: str, **facts: object) -> None:
    """Configure the log and write its first line, before the rest of the service is imported.

    A reader sees at once that the process has begun and with which facts, half a second before it
    is up.
    """
    configure(settings, service=service)
    structlog.get_logger(f"duly.{service}").info(message, **facts)


def current() -> Output | None:
    """Return the output of the last `configure`; None: there was none."""
    factory = structlog.get_config()["logger_factory"]
    return factory.output if isinstance(factory, _Factory) else None


def levels() -> LogLevels | None:
    """Return the levels of the last `configure`; None: there was none."""
    output = current()
    return output.levels if output else None


def ended() -> str | None:
    """Return None while lines are written, else that the thread which writes them has ended."""
    output = current()
    buffer = output.buffer if output else None
    return "the thread of the log has ended" if buffer and buffer.ended() else None


def masked(text: str) -> str:
    """Return a text, such as that of an error, as the log's settings let it be stored."""
    output = current()
    return output.mask.text(text) if output and output.mask else text


class _Factory:
    """Gives structlog the logger that writes finished lines."""

    def __init__(self, output: Output) -> None:
        self.output = output

    def __call__(self, name: str = OURS, *_: object) -> "_Logger":
        return _Logger(self.output, name)


class _Logger:
    """Takes finished lines from structlog, by the name of their level."""

    def __init__(self, output: Output, name: str) -> None:
        self.name = name
        self.msg = self.debug = self.info = self.warning = output.write
        self.error = self.critical = self.exception = output.write


class _Filter:
    """The first processor of structlog: drops what is below the level of its logger."""

    def __init__(self, levels: LogLevels) -> None:
        self._levels = levels

    def __call__(
        self, logger: _Logger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if structlog.processors.NAME_TO_LEVEL[method] < self._levels.of(logger.name):
            raise structlog.DropEvent
        return event


class _Renderer:
    """The last processor of structlog: turns an event into a line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, _: object, method: str, event: structlog.typing.EventDict) -> str:
        fields = with_attempt(dict(event))
        message = str(fields.pop("event", ""))
        raised = _raised(fields.pop("exc_info", None))
        if raised is not None:
            fields |= _exception_fields(raised, fields)
        level = "ERROR" if method == "exception" else method.upper()
        return self._output.line(level, message, fields)


class _Handler(logging.Handler):
    """Writes records of the standard library in our format."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's wrong arguments must not break us
            message = str(record.msg)
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            fields |= _exception_fields(record.exc_info, fields)
        self._output.write(self._output.line(record.levelname, message, with_attempt(fields)))


def _raised(exc_info: object) -> _ExcInfo | None:
    """Return the exception that `exc_info` of a logging call stands for."""
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    found = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else None
    return found if found and found[0] is not None else None


def _exception_fields(raised: _ExcInfo, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of an exception: what it is, and its traceback."""
    kind, error, frames = raised
    try:
        text = "".join(traceback.format_exception(kind, error, frames)).rstrip()
    except BaseException:  # noqa: BLE001 - an exception's class may be anybody's code
        text = ""
    known = {} if "error" in fields else {"error": describe(error)}
    return {**known, "traceback": text[-_LONGEST_TRACEBACK:]}
