"""The output of the log: whole lines, and nobody who waits for their reader."""

import atexit
import contextlib
import logging
import os
import select
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from duly.clock import Clock, SystemClock
from duly.runtime.linebuffer import LineBuffer
from duly.runtime.lineformat import JsonLines, LineFormat, Logfmt, word_of
from duly.runtime.loglevels import OURS, LogLevels
from duly.runtime.loss import Loss
from duly.runtime.masking import mask_of
from duly.runtime.settings import LogSettings

EXIT_SECONDS: Final = 2.0
"""How long the end of a process waits for the reader of its log."""


class Output:
    """A log's stream with its level and format. Safe to use from any thread.

    Lines for standard output go through a bounded buffer and a thread: no call waits for the
    reader. What is left at the end of the process is written then, within two seconds.

    Args:
        settings: The level, the format, and the size of the buffer.
        service: The name of the service, in every JSON line.
        stream: Written to at once; None: standard output, through the buffer.
        clock: The source of timestamps.
        direct: Write to standard output at once, for a process that may wait for its reader.
        previous: The output before this one, whose lines come first.
    """

    def __init__(
        self,
        settings: LogSettings,
        *,
        service: str,
        stream: TextIO | None = None,
        clock: Clock | None = None,
        direct: bool = False,
        previous: "Output | None" = None,
    ) -> None:
        self.settings, self.service = settings, service
        file = Path(settings.levels_file) if settings.levels_file else None
        self.levels = LogLevels(getattr(logging, settings.level), file, self._warn)
        self.format: LineFormat = JsonLines(service) if settings.format == "json" else Logfmt()
        self.mask = mask_of(settings)
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._stream = stream if stream is not None else _standard_output()
        self.buffer: LineBuffer | None = None
        descriptor = _descriptor(self._stream) if stream is None else None
        if descriptor is None:
            self.loss = Loss(self._gap)
            return
        before = previous.buffer if previous else None
        if previous and before and before.descriptor == descriptor:
            # One thread for both: the lines of two would overtake each other.
            self.buffer, self.loss = before, previous.loss
            self.loss.form_by(self._gap)
        else:
            self.loss = Loss(self._gap)
            self.buffer = LineBuffer(descriptor, loss=self.loss)
        self.buffer.limit_bytes, self.buffer.direct = settings.buffer_bytes, direct
        _outputs.add(self)

    @property
    def level(self) -> int:
        """The lowest level of our own lines that is written now."""
        return self.levels.of(OURS)

    def _warn(self, problem: str) -> None:
        message = "Log levels unreadable, keeping the previous ones"
        self.write(self.line("ERROR", message, {"error": problem}))

    def timestamp(self) -> str:
        """Return now, in milliseconds: `2026-11-25T03:00:00.123Z`."""
        return f"{self._clock.now().isoformat(timespec='milliseconds')[:23]}Z"

    def line(self, level: str, message: str, fields: Mapping[str, Any]) -> str:
        """Return one event as a line."""
        values: Iterable[Any] = fields.values()
        if self.mask:
            message, values = self.mask.text(message), map(self._masked, values)
        first, *pieces = self.format.pieces(self.timestamp(), level, message, tuple(fields))
        texts = map(self.format.text, values)
        return first + "".join(f"{text}{piece}" for text, piece in zip(texts, pieces, strict=True))

    def _masked(self, value: Any) -> Any:  # noqa: ANN401 - whatever is logged
        """Return a value without addresses, before anything in it is escaped."""
        if self.mask is None or isinstance(value, int | float | None):
            return value
        word = word_of(value)
        masked = self.mask.text(word)
        return value if masked == word else masked

    @property
    def held_bytes(self) -> int:
        """How much waits for the reader."""
        return self.buffer.held_bytes if self.buffer else 0

    def write(self, lines: str, *, batch: bool = False) -> bool:
        """Write whole lines; return False if they are lost: the buffer is full, or a write failed.

        It neither waits nor raises. What is lost is counted in `loss`, and told in the log.

        Args:
            lines: One or more.
            batch: Whether they are many, whose writer has waited for `room`.
        """
        if self.buffer is not None:
            return self.buffer.write(lines, batch=batch)
        with self._lock:
            untold = self.loss.take()
            try:
                self._stream.write(self.loss.line(untold) + lines)
                self._stream.flush()
            except (OSError, ValueError):
                # The reader or the file is gone: the service matters more than its log.
                self.loss.failed()
                self.loss.give_back(untold)
                self.loss.add(lines.encode("utf-8", "replace"))
                return False
        return True

    async def room(self, seconds: float) -> bool:
        """Wait until a batch of lines finds room; return False if there is none by then.

        It is there at once if `log.when_full` is "drop", or if writes fail.

        Args:
            seconds: How long to wait at most.
        """
        if self.buffer is None or self.settings.when_full == "drop":
            return True
        return await self.buffer.room(seconds)

    def flush(self, seconds: float = EXIT_SECONDS) -> bool:
        """Wait until everything is written, or a write fails; return whether it is."""
        return self.buffer is None or self.buffer.flush(seconds)

    def _gap(self, count: int) -> str:
        return self.line("WARNING", "Log lines dropped", {"lines": count})


def _standard_output() -> TextIO:
    # Independent of the locale: a name in Greek must not end a service.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")
    return sys.stdout


def _descriptor(stream: TextIO) -> int | None:
    """Return the number of a stream's file, which is flushed; None: it has none, as in tests."""
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


_outputs: "weakref.WeakSet[Output]" = weakref.WeakSet()


@atexit.register
def _flush_at_exit() -> None:
    for output in _outputs:
        if not output.flush():
            _complain(f"{output.service}: {output.held_bytes} bytes of the log were not written\n")


def _complain(sentence: str) -> None:
    """Write to standard error, unless that would wait for its reader too."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = sys.stderr.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if poll.poll(0):
            os.write(descriptor, sentence.encode())
