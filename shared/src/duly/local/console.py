"""A terminal that many processes share: each line is prefixed with the name of its writer.

Where the log is JSON, nothing is prefixed: a line is its writer's object, or one around its text.
"""

import json
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Final

from duly.clock import SystemClock

_COLOURS: Final = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_QUEUE_CHUNKS: Final = 64


class Console:
    """Writes whole lines to a file descriptor, from a thread of its own.

    A paused terminal or a full pipe may block a write indefinitely; signals must be handled
    nevertheless.

    Args:
        descriptor: Written to.
        colour: Whether prefixes are coloured.
        on_closed: Called in that thread once the reader is gone.
        as_json: Write objects instead of prefixed lines.
    """

    def __init__(
        self,
        *,
        descriptor: int,
        colour: bool,
        on_closed: Callable[[], None],
        as_json: bool = False,
    ) -> None:
        self._descriptor, self._colour, self._on_closed = descriptor, colour, on_closed
        self._as_json, self._clock = as_json, SystemClock()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUE_CHUNKS)
        self._names: list[str] = []
        self._width = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def expect(self, *names: str) -> None:
        """Reserve the width for these names, and give each a colour by its position."""
        self._names = list(dict.fromkeys((*self._names, *names)))
        self._width = max(map(len, self._names), default=0)

    def offer(self, name: str, lines: bytes) -> bool:
        """Queue whole lines of `name`, each with its newline; return False if the queue is full."""
        if self._closed:
            return True
        body = lines.removesuffix(b"\n")
        if self._as_json:
            body = b"\n".join(self._object(name, line) for line in body.split(b"\n"))
        else:
            prefix = self._prefix(name)
            body = prefix + body.replace(b"\n", b"\n" + prefix)
        try:
            self._chunks.put_nowait(body + b"\n")
        except queue.Full:
            return False
        return True

    def say(self, text: str, *, name: str = "duly") -> None:
        """Write a line of our own; it is dropped if the queue is full."""
        self.offer(name, text.encode() + b"\n")

    def close(self, timeout_seconds: float = 1.0) -> bool:
        """Write what is queued, and return whether it was done within `timeout_seconds`.

        If not, the descriptor must stay open: the thread would continue with the next file that
        gets its number.
        """
        try:
            self._chunks.put(None, timeout=timeout_seconds)
        except queue.Full:
            return False
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _object(self, name: str, line: bytes) -> bytes:
        """Return a line of JSON as it is, and any other text, such as a traceback, as an object."""
        if line.startswith(b"{") and line.endswith(b"}"):
            return line
        timestamp = f"{self._clock.now().isoformat(timespec='milliseconds')[:23]}Z"
        text = line.decode(errors="replace").rstrip()
        fields = {"timestamp": timestamp, "level": "INFO", "message": text, "service": name}
        return json.dumps(fields).encode()

    def _prefix(self, name: str) -> bytes:
        padded = name.ljust(self._width)
        if not self._colour:
            return f"{padded} | ".encode()
        place = self._names.index(name) if name in self._names else 0
        return f"\x1b[{_COLOURS[place % len(_COLOURS)]}m{padded} |\x1b[0m ".encode()

    def _write(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            rest = memoryview(chunk)
            while rest and not self._closed:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    # Another program on this terminal has made it non-blocking.
                    select.select((), (self._descriptor,), (), 1)
                except OSError:
                    # The reader is gone (`duly up | head`).
                    self._closed = True
                    self._on_closed()
