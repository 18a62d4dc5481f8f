"""A child process from the worker's side: one handler at a time runs in it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final, Self

import msgspec

from duly.engine.enqueue.flows import decode_steps
from duly.engine.worker.processes.messages import (
    CONNECTION_LOST,
    FRAME_LIMIT_BYTES,
    LENGTH_BYTES,
    Broker,
    Done,
    Note,
    Raised,
    Ready,
    Reply,
    Run,
    Spans,
    Start,
    Tell,
    frame,
)
from duly.engine.worker.processes.remote_errors import made_anew
from duly.engine.worker.processes.tracing import take_spans
from duly.errors import ProcessDiedError
from duly.runtime import logs
from duly.task import Progress, TaskContext

_AFTER_SIGTERM: Final = 0.5
_START_SECONDS: Final = 60.0
_CLOSED: Final = "closed its connection to the worker"
_NONSENSE: Final = "sent the worker what it cannot read"
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path'];"
    "from duly.engine.worker.processes.child import main; main(sys.argv[1])"
)


class ProcessHandle:
    """One process, from this side."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_death: Callable[["ProcessHandle"], None],
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._on_death = on_death
        self._answer: asyncio.Future[msgspec.Raw] | None = None
        self._context: TaskContext | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._how = ""
        """How it ended, where its exit code does not tell."""
        self.pid = process.pid
        self.tasks = 0
        """How many it was given; also the number of the current one."""
        self.dead = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.get_running_loop().create_task(self._live())

    @classmethod
    async def start(cls, on_death: Callable[["ProcessHandle"], None]) -> Self:
        """Start a process; `ready` waits until it takes tasks.

        Raises:
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
        return cls(process, reader, writer, on_death)

    async def ready(self) -> None:
        """Return when the process takes tasks: the time to start it is no handler's time.

        Raises:
            ProcessDiedError: It ended before, or took longer than a minute.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self._how = f"did not start within {_START_SECONDS:g} s"
            await self.kill()
            await self._ready

    def submit(self, run: Run, context: TaskContext) -> "asyncio.Future[msgspec.Raw]":
        """Have it run a task; what the task reports meanwhile arrives in the context."""
        self.tasks += 1
        run.number = self.tasks
        self._context = context
        self._answer = asyncio.get_running_loop().create_future()
        if self.dead:
            self._died(self._process.returncode or 0)
        else:
            self._writer.write(frame(run))
        return self._answer

    def release(self) -> None:
        """Be done with the task: nobody waits for its answer any longer."""
        self._answer = self._context = None

    def send(self, what: Tell | Broker) -> None:
        """Tell the process where to enqueue, that its task is cancelled, or the worker stops."""
        if not self.dead:
            self._writer.write(frame(what))

    def park(self, seconds: float, then: "Callable[[ProcessHandle], None]") -> None:
        """Keep it for the next task; call `then` when none has come for so long."""
        self._timer = asyncio.get_running_loop().call_later(seconds, then, self)

    def acquire(self) -> bool:
        """Take it for a task; False when it has died while it was parked."""
        if self._timer is not None:
            self._timer.cancel()
        return not self.dead

    async def kill(self) -> None:
        """End the process, whatever it does; return when it is gone."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self._life}, timeout=_AFTER_SIGTERM)
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._life})

    async def close(self) -> None:
        """Let a process without a task end by itself, and kill it where it does not."""
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
        """Receive its replies until it has died; the last reply and its end come in any order."""
        loop = asyncio.get_running_loop()
        receiving = loop.create_task(self._receive())
        ending = loop.create_task(self._process.wait())
        await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            # It closed its end, or sent nonsense. A moment: it may be about to exit.
            await asyncio.wait({ending}, timeout=_AFTER_SIGTERM)
        if not ending.done():
            self._how = self._how or _CLOSED
            self._signal(signal.SIGKILL)
        code = await ending
        await asyncio.wait({receiving}, timeout=_AFTER_SIGTERM)
        receiving.cancel()
        # What the handler had started and left behind.
        self._signal(signal.SIGKILL)
        self.dead = True
        self._writer.close()
        self._died(code)
        self._on_death(self)

    async def _receive(self) -> None:
        """Receive replies until the connection is closed, or brings what is no reply."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                if length > FRAME_LIMIT_BYTES:
                    self._how = _NONSENSE
                    return
                data = await self._reader.readexactly(length)
                self._received(msgspec.json.decode(data, type=Reply))
        except msgspec.DecodeError:
            self._how = _NONSENSE
        except (asyncio.IncompleteReadError, OSError):
            return

    def _received(self, reply: Reply) -> None:
        if isinstance(reply, Ready):
            if not self._ready.done():
                self._ready.set_result(None)
            return
        if isinstance(reply, Spans):
            take_spans(reply)
            return
        # A reply to another task than this one is a stray: its attempt is over.
        if reply.number != self.tasks or self._answer is None or self._answer.done():
            return
        try:
            result = self._take(reply)
        except BaseException as error:  # noqa: BLE001 - an attempt fails by it, not the connection
            self._answer.set_exception(error)
        else:
            if result is not None:
                self._answer.set_result(result)

    def _take(self, reply: Note | Done | Raised) -> msgspec.Raw | None:
        """Return the result that a reply brings, or raise its error; None: the task runs on."""
        note = reply if isinstance(reply, Note) else reply.note
        if note is not None and self._context is not None:
            _pass_on(note, self._context)
        if isinstance(reply, Note):
            return None
        if isinstance(reply, Raised):
            raise made_anew(reply)
        if reply.successors and self._context is not None:
            self._context.successors = list(decode_steps(reply.successors))
        return reply.result

    def _died(self, code: int) -> None:
        how = self._how or (_CLOSED if code == CONNECTION_LOST else "")
        if not self._ready.done():
            self._ready.set_exception(ProcessDiedError(code, how))
            self._ready.exception()  # retrieved: nobody may wait for it any longer
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProcessDiedError(code, how))


def _pass_on(note: Note, context: TaskContext) -> None:
    if note.fraction is not None:
        context.reported = Progress(note.fraction, note.note)
        context.outside.progressed(context)
    if note.partial_result is not None:
        context.partial_result = note.partial_result.encode()
        context.outside.partial_result_written(context)
