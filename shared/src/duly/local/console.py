"""The one terminal that many processes share: every line is prefixed with who wrote it."""

import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Final

_COLOURS: Final = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_QUEUE_CHUNKS: Final = 64


class Console:
    """Writes whole lines to a file descriptor from a thread of its own.

    A thread, because a paused terminal or a full pipe blocks a write for as long as it likes,
    and a signal must be answered all the same.
    """

    def __init__(self, *, descriptor: int, colour: bool, on_closed: Callable[[], None]) -> None:
        self._descriptor, self._colour, self._on_closed = descriptor, colour, on_closed
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUE_CHUNKS)
        self._names: list[str] = []
        self._width = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def expect(self, *names: str) -> None:
        """Make room for these names, and give each a colour by its place."""
        self._names = list(dict.fromkeys((*self._names, *names)))
        self._width = max(map(len, self._names), default=0)

    def offer(self, name: str, lines: bytes) -> bool:
        """Take whole lines of `name`, each ending in a newline; False when the queue is full."""
        if self._closed:
            return True
        prefix = self._prefix(name)
        body = lines.removesuffix(b"\n").replace(b"\n", b"\n" + prefix)
        try:
            self._chunks.put_nowait(prefix + body + b"\n")
        except queue.Full:
            return False
        return True

    def say(self, text: str, *, name: str = "duly") -> None:
        """Write a line of our own; dropped when nobody has read for long."""
        self.offer(name, text.encode() + b"\n")

    def close(self, timeout_seconds: float = 1.0) -> bool:
        """Write what is queued, for `timeout_seconds` at most.

        False when that was not enough: the descriptor must then stay open, or the thread would
        go on with the next file that gets its number.
        """
        try:
            self._chunks.put(None, timeout=timeout_seconds)
        except queue.Full:
            return False
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

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
                    # Whoever shares the terminal with us has made it non-blocking.
                    select.select((), (self._descriptor,), (), 1)
                except OSError:
                    # Whoever read us is gone (`duly up | head`): nothing is left to tell them.
                    self._closed = True
                    self._on_closed()
