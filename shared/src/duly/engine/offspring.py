"""A child process from the server's side: one handler at a time runs in it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Self

import msgspec
from typing_extensions import override

from duly.engine.child import (
    FRAME_LIMIT_BYTES,
    LENGTH_BYTES,
    VERDICTS,
    Done,
    Note,
    Raised,
    Ready,
    Run,
    Start,
    Tell,
    frame,
)
from duly.engine.flows import decode_steps
from duly.errors import ProcessDiedError, Retry
from duly.runtime import logs
from duly.task import Progress, TaskContext

_AFTER_SIGTERM: Final = 0.5
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path'];"
    "from duly.engine.child import main; main(sys.argv[1])"
)


class RemoteError(Exception):
    """What a handler raised in its process.

    Each is of a subclass with the name of the original, and a subclass of the original too where
    this process knows it: policies look at the class. It has the message only, no attributes.
    """

    @override
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class _Traceback(Exception):  # noqa: N818 - no error: the text of one
    """The cause of what is raised here for a handler: where it was raised there."""


def traceback_of(error: BaseException) -> str | None:
    """Return the traceback from the process where an error was raised; None: from this one."""
    return str(error.__cause__) if isinstance(error.__cause__, _Traceback) else None


class Offspring:
    """One process, from this side."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_death: Callable[["Offspring"], None],
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._on_death = on_death
        self._answer: asyncio.Future[msgspec.Raw] | None = None
        self._context: TaskContext | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.pid = process.pid
        self.tasks = 0
        self.dead = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.get_running_loop().create_task(self._live())

    @classmethod
    async def start(cls, on_death: Callable[["Offspring"], None]) -> Self:
        """Start one, and wait until it takes tasks: what that takes is no handler's time.

        Raises:
            ProcessDiedError: It did not come so far.
            OSError: The machine has no room for another process.
        """
        ours, theirs = socket.socketpair()
        log = logs.current()
        begin = Start(
            path=sys.path,
            socket=theirs.fileno(),
            server=os.getpid(),
            log=log.settings.model_dump(mode="json") if log else None,
            service=log.service if log else "",
        )
        try:
            with theirs:
                # A session of its own: Ctrl-C in a terminal reaches the server alone, and what
                # the handler starts can be ended together with it.
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-c", _BOOT, json.dumps(msgspec.to_builtins(begin))),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        child = cls(process, reader, writer, on_death)
        await child._ready
        return child

    def begin(self, run: Run, context: TaskContext) -> "asyncio.Future[msgspec.Raw]":
        """Have it run a task; what it reports meanwhile arrives in the context."""
        self.tasks += 1
        self._context = context
        self._answer = asyncio.get_running_loop().create_future()
        if self.dead:
            self._died(self._process.returncode or 0)
        else:
            self._writer.write(frame(run))
        return self._answer

    def rest(self) -> None:
        """Be done with the task: nobody waits for its answer any more."""
        self._answer = self._context = None

    def tell(self, what: Tell) -> None:
        """Tell it something about its task or its server."""
        if not self.dead:
            self._writer.write(frame(what))

    def sleep(self, seconds: float, then: "Callable[[Offspring], None]") -> None:
        """Wait for the next task; call `then` when none has come for so long."""
        self._timer = asyncio.get_running_loop().call_later(seconds, then, self)

    def wake(self) -> bool:
        """Return whether it can be used; it may have died in its sleep."""
        if self._timer is not None:
            self._timer.cancel()
        return not self.dead

    async def kill(self) -> None:
        """End it, whatever it does; returns when it has gone."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self._life}, timeout=_AFTER_SIGTERM)
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._life})

    async def end(self) -> None:
        """Let it end by itself: it has nothing to do."""
        if not self.dead:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()
            await asyncio.wait({self._life}, timeout=_AFTER_SIGTERM)
        await self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if not self.dead:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _live(self) -> None:
        """Hear what it says until it has died; the two may come in any order."""
        loop = asyncio.get_running_loop()
        hearing = loop.create_task(self._hear())
        ending = loop.create_task(self._process.wait())
        await asyncio.wait({hearing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            # Closed its end, or spoke nonsense. A moment: it may be about to exit.
            await asyncio.wait({ending}, timeout=_AFTER_SIGTERM)
            self._signal(signal.SIGKILL)
        code = await ending
        await asyncio.wait({hearing}, timeout=_AFTER_SIGTERM)
        hearing.cancel()
        # What the handler had started and left behind.
        self._signal(signal.SIGKILL)
        self.dead = True
        self._writer.close()
        self._died(code)
        self._on_death(self)

    async def _hear(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            while True:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                if length > FRAME_LIMIT_BYTES:
                    return
                data = await self._reader.readexactly(length)
                self._heard(msgspec.json.decode(data, type=Ready | Note | Done | Raised))

    def _heard(self, message: Ready | Note | Done | Raised) -> None:
        if isinstance(message, Ready):
            self._ready.set_result(None)
            return
        note = message if isinstance(message, Note) else message.note
        if note is not None and self._context is not None:
            _pass_on(note, self._context)
        if isinstance(message, Note) or self._answer is None or self._answer.done():
            return
        if isinstance(message, Done):
            if message.successors and self._context is not None:
                self._context.successors = list(decode_steps(message.successors))
            self._answer.set_result(message.result)
        else:
            self._answer.set_exception(_error_of(message))

    def _died(self, code: int) -> None:
        if not self._ready.done():
            self._ready.set_exception(ProcessDiedError(code))
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProcessDiedError(code))


def _pass_on(note: Note, context: TaskContext) -> None:
    if note.fraction is not None:
        context.reported = Progress(note.fraction, note.note)
        context.outside.progressed(context)
    if note.draft is not None:
        context.draft = note.draft.encode()
        context.outside.drafted(context)


def _error_of(raised: Raised) -> BaseException:
    error: BaseException
    if raised.verdict == "retry" and raised.after_ms is not None:
        error = Retry(raised.message, after=timedelta(milliseconds=raised.after_ms))
    elif raised.verdict:
        error = VERDICTS[raised.verdict](raised.message)
    else:
        error = _remote(raised)
    error.__cause__ = _Traceback(raised.traceback)
    return error


def _remote(raised: Raised) -> Exception:
    original = getattr(sys.modules.get(raised.module), raised.error, None)
    bases: tuple[type, ...] = (RemoteError,)
    # asyncio's futures refuse StopIteration.
    if isinstance(original, type) and issubclass(original, Exception):
        bases = (RemoteError,) if issubclass(original, StopIteration) else (RemoteError, original)
    try:
        return _made(type(raised.error, bases, {}), raised.message)
    except Exception:  # noqa: BLE001 - the original is made otherwise, by somebody's code
        return _made(type(raised.error, (RemoteError,), {}), raised.message)


def _made(kind: type, message: str) -> Exception:
    # Not by its constructor, which may want what did not travel.
    make: Callable[..., Exception] = kind.__new__
    error = make(kind, message)
    error.args = (message,)
    return error
