"""Where log lines go: one stream, whole lines, and no crash when nobody reads any more."""

import logging
import os
import sys
import threading
from typing import TextIO

from duly.clock import Clock, SystemClock
from duly.runtime.lineformat import JsonLines, LineFormat, Logfmt
from duly.runtime.settings import LogSettings


class Output:
    """A log's stream with its level and format. Safe to use from any thread.

    Args:
        settings: The level and the format.
        service: Which service writes; part of every JSON line.
        stream: Written to; None: standard output.
        clock: Gives the timestamps.
    """

    def __init__(
        self,
        settings: LogSettings,
        *,
        service: str,
        stream: TextIO | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings, self.service = settings, service
        self.level: int = getattr(logging, settings.level)
        self.format: LineFormat = JsonLines(service) if settings.format == "json" else Logfmt()
        self._stream = stream if stream is not None else _standard_output()
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._broken = False

    def timestamp(self) -> str:
        """Return now, in milliseconds: `2026-11-25T03:00:00.123Z`."""
        return f"{self._clock.now().isoformat(timespec='milliseconds')[:23]}Z"

    def write(self, lines: str) -> None:
        """Write whole lines and flush them. Once the reader has gone, do nothing."""
        with self._lock:
            if self._broken:
                return
            try:
                self._stream.write(lines)
                self._stream.flush()
            except (OSError, ValueError):
                # The pipe's reader or the file has gone: the service is worth more than its log.
                self._broken = True
                self._silence()

    def _silence(self) -> None:
        """Let Python's own flush at exit go nowhere; it would fail once more and set the code."""
        if self._stream is sys.stdout:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def _standard_output() -> TextIO:
    # Whatever the locale says: a name in Greek must not end a service.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")
    return sys.stdout
