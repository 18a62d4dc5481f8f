"""A bounded buffer of log lines before a file descriptor, written by a thread of its own.

Nobody who logs waits for the reader of standard output: a pipe that is not read holds 64 KiB, and
a write beyond them would stop an event loop, its heartbeats and its probes.
"""

import asyncio
import contextlib
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from duly.runtime.loss import Loss

_TOGETHER_BYTES: Final = 65_536
"""Lines of single events that leave in one write: what a pipe holds."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0
_LOOK_MS: Final = 1_000


@dataclass(slots=True)
class _Share:
    """What one sort of lines takes of the buffer: half of it at most."""

    held: int = 0
    overfull: bool = False


_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class LineBuffer:
    """Takes whole lines from any thread, never blocks, and writes them in order.

    Single events have one half of it and batches the other, so that neither pushes the other out.
    Beyond that lines are lost and counted; once a half is half empty again, the line that `loss`
    makes says how many, at the place where they are missing. A write that fails is
    repeated for ever, because a full disk may get room again and a named pipe a new reader.

    In a copy of this process that somebody forks there is no such thread: it writes at once.

    Args:
        descriptor: Where the lines go. It may be in non-blocking mode.
        loss: Counts what is lost.
    """

    def __init__(self, descriptor: int, *, loss: Loss) -> None:
        self.limit_bytes = 4_194_304
        """How much may wait; one call more in each half, since calls are not split."""
        self.direct = False
        """Whether to write at once and without a thread, as a process may that has no loop."""
        self.descriptor, self._loss = descriptor, loss
        # Reentrant: the collector may run a finalizer here that logs a warning.
        self._changed = threading.Condition(threading.RLock())
        self._chunks: deque[tuple[_Share, bytes]] = deque()
        self._events, self._batches = _Share(), _Share()
        self._failing = False
        self._at = [0]
        """How much of the next write has been written already."""
        self._thread: threading.Thread | None = None
        self._waiters: list[_Waiter] = []
        _buffers.add(self)

    @property
    def held_bytes(self) -> int:
        """How much waits to be written."""
        return self._events.held + self._batches.held

    def write(self, lines: str, *, batch: bool = False) -> bool:
        """Take whole lines; return False if they are lost because their half is full.

        Args:
            lines: One or more.
            batch: Whether their writer waits for `room`, or else accepts that they are lost.
        """
        data = lines.encode("utf-8", "backslashreplace")
        with self._changed:
            if self.direct:
                return self._write_directly(data)
            share = self._batches if batch else self._events
            share.overfull = share.overfull or share.held >= self.limit_bytes // 2
            if share.overfull:
                self._loss.add(data)
                return False
            self._append(share, data)
        return True

    def ended(self) -> bool:
        """Tell whether its thread has ended, so that nothing is written any more."""
        return self._thread is not None and not self._thread.is_alive() and not self.direct

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, or a write fails; return whether it is.

        Args:
            seconds: How long to wait at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self.held_bytes or self._failing, seconds)
            return not self.held_bytes

    async def room(self, seconds: float) -> bool:
        """Wait until a batch would be taken; return False if it would not be by then.

        Where writes fail there is nothing to wait for, and the answer is True at once.

        Args:
            seconds: How long to wait at most.
        """
        if self._is_roomy():
            return True
        loop = asyncio.get_running_loop()
        waiter = loop, loop.create_future()
        with self._changed:
            self._waiters.append(waiter)
            roomy = self._is_roomy()
        try:
            if not roomy:
                async with asyncio.timeout(seconds):
                    await waiter[1]
        except TimeoutError:
            return False
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return True

    def forked(self) -> None:
        """Forget, in a copy of the process, what the original is going to write."""
        self._changed = threading.Condition(threading.RLock())
        self._chunks.clear()
        self._waiters.clear()
        self._events, self._batches = _Share(), _Share()
        self._failing, self.direct, self._at = False, True, [0]

    def _is_roomy(self) -> bool:
        return self._failing or self._batches.held < self.limit_bytes // 2

    def _append(self, share: _Share, data: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # The machine has no room for a thread, later perhaps.
                self._thread = None
                self._write_directly(data)
                return
        self._chunks.append((share, data))
        share.held += len(data)
        self._changed.notify_all()

    def _write_directly(self, data: bytes) -> bool:
        untold = self._loss.take()
        try:
            self._write_all(self._loss.line(untold).encode() + data, [0])
        except OSError:
            self._loss.failed()
            self._loss.give_back(untold)
            self._loss.add(data)
            return False
        return True

    def _run(self) -> None:
        while True:
            try:
                self._write_next()
            except BaseException:  # noqa: BLE001 - too little memory, for example: later perhaps
                self._loss.failed()
                time.sleep(_FIRST_PAUSE_SECONDS)

    def _write_next(self) -> None:
        """Write what has waited longest. Whatever ends this, the same comes next, from there on."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks)
            share, parts = self._next()
        data = b"".join(parts)
        self._deliver(data)
        with self._changed:
            for _ in parts:
                self._chunks.popleft()
            self._at = [0]
            share.held -= len(data)
            self._report_room()

    def _next(self) -> tuple[_Share, list[bytes]]:
        """Return the lines of the next write, of one sort; they stay where they are."""
        share, data = self._chunks[0]
        parts, size = [data], len(data)
        for other, more in islice(self._chunks, 1, None):
            size += len(more)
            if other is not share or size > _TOGETHER_BYTES:
                break
            parts.append(more)
        return share, parts

    def _report_room(self) -> None:
        """Say what was lost, and wake who waits, once there is room."""
        for share in (self._events, self._batches):
            if share.overfull and share.held <= self.limit_bytes // 4:
                share.overfull = False
                if gap := self._loss.line(self._loss.take()).encode():
                    self._append(self._events, gap)
        if self._waiters and self._is_roomy():
            for loop, future in self._waiters:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_finish, future)
            self._waiters.clear()
        if not self.held_bytes or self._failing:
            self._changed.notify_all()

    def _deliver(self, data: bytes) -> None:
        """Write bytes, as often as it takes."""
        at, pause = self._at, _FIRST_PAUSE_SECONDS
        while True:
            before = at[0]
            try:
                self._write_all(data, at)
            except OSError:
                # From the same place on later: even a named pipe keeps what it has been given.
                self._loss.failed()
                with self._changed:
                    self._failing = True
                    self._report_room()
                pause = _FIRST_PAUSE_SECONDS if at[0] > before else pause
                threading.Event().wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._failing = False
                return

    def _write_all(self, data: bytes, at: list[int]) -> None:
        """Write bytes from a place on, which moves along.

        Raises:
            OSError: They cannot be written from that place on.
        """
        whole = memoryview(data)
        while at[0] < len(data):
            try:
                at[0] += os.write(self.descriptor, whole[at[0] :])
            except BlockingIOError:
                # Somebody who shares the terminal or the pipe has made it non-blocking.
                poll = select.poll()
                poll.register(self.descriptor, select.POLLOUT)
                poll.poll(_LOOK_MS)


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


_buffers: "weakref.WeakSet[LineBuffer]" = weakref.WeakSet()


def _after_fork() -> None:
    for buffer in _buffers:
        buffer.forked()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_after_fork)
