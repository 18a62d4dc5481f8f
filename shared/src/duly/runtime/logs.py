"""Sets up logging: one event, one line, in the same format whoever logs.

Our own code uses `structlog.get_logger()`; what libraries log by the standard `logging` module
goes the same way from WARNING on. An exception's traceback is escaped into the line's last
field in both formats: lines stay whole for every collector, and an unexpected error, which is
the only kind that is logged with its traceback, is never without it.
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
from duly.runtime.output import Output
from duly.runtime.settings import LogSettings

_LONGEST_TRACEBACK: Final = 16_384
_SILENT: Final = ("taskiq.receiver", "taskiq.receiver.receiver", "taskiq.receiver.params_parser")
"""Loggers that quote the messages they can not parse: payloads stay out of the log."""
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(
    settings: LogSettings,
    *,
    service: str,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> Output:
    """Send all logging of this process to `stream`, and return what writes it.

    Args:
        settings: The level of our own lines, and the format of all.
        service: Which service this is; part of every JSON line.
        stream: None: standard output.
        clock: Gives the timestamps; None: the machine's.
    """
    output = Output(settings, service=service, stream=stream, clock=clock)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _Renderer(output)],
        wrapper_class=structlog.make_filtering_bound_logger(output.level),
        logger_factory=_Factory(output),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Handler(output)], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return output


def current() -> Output | None:
    """Return what `configure` set up last; None: nothing yet."""
    factory = structlog.get_config()["logger_factory"]
    return factory.output if isinstance(factory, _Factory) else None


class _Factory:
    """Gives structlog the logger that writes finished lines."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._logger = _Logger(output)

    def __call__(self, *_: object) -> "_Logger":
        return self._logger


class _Logger:
    """What structlog hands a finished line to, by the name of its level."""

    def __init__(self, output: Output) -> None:
        self.msg = self.debug = self.info = self.warning = output.write
        self.error = self.critical = self.exception = output.write


class _Renderer:
    """structlog's last processor: an event becomes a line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, _: object, method: str, event: structlog.typing.EventDict) -> str:
        fields = dict(event)
        message = str(fields.pop("event", ""))
        raised = _raised(fields.pop("exc_info", None))
        if raised is not None:
            fields |= _told(raised, fields)
        level = "ERROR" if method == "exception" else method.upper()
        return _line(self._output, level, message, fields)


class _Handler(logging.Handler):
    """The standard library's records, in our format."""

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
            fields |= _told(record.exc_info, fields)
        self._output.write(_line(self._output, record.levelname, message, fields))


def _line(output: Output, level: str, message: str, fields: Mapping[str, Any]) -> str:
    form = output.format
    template = form.template(output.timestamp(), level, message, tuple(fields))
    return template % tuple(map(form.text, fields.values()))


def _raised(exc_info: object) -> _ExcInfo | None:
    """Return the exception that a logging call means by its `exc_info`."""
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    found = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else None
    return found if found and found[0] is not None else None


def _told(raised: _ExcInfo, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of an exception: what it was in a word, and where."""
    kind, error, frames = raised
    text = "".join(traceback.format_exception(kind, error, frames)).rstrip()
    told = {} if "error" in fields else {"error": f"{kind.__name__}: {error}"}
    return {**told, "traceback": text[-_LONGEST_TRACEBACK:]}
