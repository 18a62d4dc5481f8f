"""What runs in a process of its own: one handler after the other, as the server's pool asks.

The two speak JSON over a socket pair, each frame after its length in four bytes. Nothing is
pickled: a handler and its job are named, the payload travels as the JSON that it was enqueued as.

A child never outlives its server. It reads the socket in a thread, and ends when the other end is
gone; where that thread can not run, because a handler holds the interpreter's lock, the kernel
kills it (Linux).
"""

import ctypes
import importlib
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final, NoReturn

import msgspec

from duly.clock import SystemClock, to_unix_ms
from duly.errors import HandBack, Retry, Revoke, Skip
from duly.flow import Node
from duly.runtime import logs
from duly.runtime.settings import LogSettings
from duly.task import Outside, TaskContext, encode_result

FRAME_LIMIT_BYTES: Final = 4 * 1024 * 1024
LENGTH_BYTES: Final = 4
_PR_SET_PDEATHSIG: Final = 1
_ENDED_BY_SIGTERM: Final = 143
_NOTE_EVERY: Final = 1.0
"""Seconds between two notes of a task: a loop may tell its progress a million times a second."""
_ERROR_LIMIT, _TRACEBACK_LIMIT = 2_000, 16_000
VERDICTS: Final = {"retry": Retry, "skip": Skip, "revoke": Revoke, "hand_back": HandBack}


class Start(msgspec.Struct):
    """What a child is told on its command line."""

    path: list[str]
    socket: int
    """The inherited file descriptor."""
    server: int
    """The process that it belongs to."""
    log: dict[str, str] | None = None
    service: str = ""


class Facts(msgspec.Struct):
    """What a context is made of."""

    id: str
    queue: str
    kind: str
    attempt: int
    max_attempts: int
    crashes: int
    waiting_since_ms: int
    started_ms: int
    deadline_ms: int
    headers: dict[str, str]


class Run(msgspec.Struct, tag="run"):
    """To a child: run a task."""

    handler: str
    """`module:name`, as its job."""
    job: str
    payload: str
    facts: Facts
    offset_ms: int
    """How far the broker's clock is ahead of this machine's."""
    keeps: bool
    """Whether anybody wants the result."""


class Tell(msgspec.Struct, tag="tell"):
    """To a child: its task is cancelled, or the worker stops."""

    cancelled: bool = False
    stopping: bool = False


class Ready(msgspec.Struct, tag="ready"):
    """From a child: it takes tasks from now on."""


class Note(msgspec.Struct, tag="note"):
    """From a child: how far its task has come."""

    fraction: float | None = None
    note: str = ""
    draft: str | None = None
    """JSON, as a text in it."""


class Done(msgspec.Struct, tag="done"):
    """From a child: the handler returned."""

    result: msgspec.Raw
    note: Note | None = None
    successors: str = ""
    """What comes next, planned: JSON as a text in it."""


class Raised(msgspec.Struct, tag="raised"):
    """From a child: the handler raised."""

    module: str
    error: str
    """The name of its class."""
    message: str
    traceback: str
    verdict: str = ""
    after_ms: int | None = None
    note: Note | None = None


def frame(content: msgspec.Struct) -> bytes:
    """Return a message with its length before it."""
    data = msgspec.json.encode(content)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def load(name: str) -> Any:  # noqa: ANN401 - a handler or a job's class
    """Return what `module:name` names."""
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


class Child:
    """Runs one task at a time in the main thread, and listens in another."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._requests: queue.SimpleQueue[tuple[Run, TaskContext] | None] = queue.SimpleQueue()
        self._context: TaskContext | None = None
        self._stopping = self._terminated = False
        self._writing = threading.Lock()
        self._notes = Notes(self._send)

    def serve(self) -> None:
        """Run what comes until the server has enough of this child."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._listen, name="server", daemon=True).start()
        self._send(Ready())
        while not self._terminated and (request := self._requests.get()) is not None:
            answer = self._run(*request)
            answer.note = self._notes.last()
            self._context = None
            self._send(answer)

    def _terminate(self, *_: object) -> NoReturn:
        # As an exception, so that what the handler has opened is closed.
        self._terminated = True
        raise SystemExit(_ENDED_BY_SIGTERM)

    def _listen(self) -> None:
        while (message := self._receive()) is not None:
            if isinstance(message, Run):
                self._context = self._context_of(message)
                self._requests.put((message, self._context))
            else:
                self._stopping = self._stopping or message.stopping
                if message.cancelled and self._context is not None:
                    self._context.cancelled = True
        if self._context is not None:
            os._exit(1)  # the server is gone: what the handler does is no use to anybody
        self._requests.put(None)

    def _receive(self) -> Run | Tell | None:
        try:
            length = self._end.recv(LENGTH_BYTES, socket.MSG_WAITALL)
            data = self._end.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            return msgspec.json.decode(data, type=Run | Tell)
        except (OSError, msgspec.DecodeError):
            return None

    def _send(self, content: msgspec.Struct) -> None:
        with self._writing:
            self._end.sendall(frame(content))

    def _context_of(self, run: Run) -> TaskContext:
        clock = SystemClock()
        outside = Outside(
            now_ms=lambda: to_unix_ms(clock.now()) + run.offset_ms,
            progressed=self._notes.take,
            drafted=self._notes.take,
        )
        return TaskContext(
            **msgspec.structs.asdict(run.facts), stopping=self._is_stopping, outside=outside
        )

    def _is_stopping(self) -> bool:
        return self._stopping

    def _run(self, run: Run, context: TaskContext) -> Done | Raised:
        try:
            handler, job = load(run.handler), load(run.job)
            result = handler(job.model_validate_json(run.payload), context)
            encoded = msgspec.Raw(encode_result(result if run.keeps else None))
            next_ones = context.successors
            return Done(encoded, successors=_planned(context.id, next_ones) if next_ones else "")
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            return _raised(error)


class Notes:
    """Sends how far a task has come: at once, but once a second at most. For any thread."""

    def __init__(self, send: Callable[[Note], None]) -> None:
        self._send, self._clock = send, SystemClock()
        self._lock = threading.Lock()
        self._sent_at = -_NOTE_EVERY
        self._unsent: TaskContext | None = None
        self._timer: threading.Timer | None = None

    def take(self, context: TaskContext) -> None:
        """Take what a context reports; the last word within a second counts."""
        with self._lock:
            self._unsent = context
            wait = self._sent_at + _NOTE_EVERY - self._clock.monotonic()
            if wait <= 0:
                self._flush()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._due)
                self._timer.daemon = True
                self._timer.start()

    def last(self) -> Note | None:
        """Return what has not been sent, and forget it: the task has ended."""
        with self._lock:
            context, self._unsent = self._unsent, None
            return _note_of(context) if context is not None else None

    def _due(self) -> None:
        with self._lock:
            self._timer = None
            self._flush()

    def _flush(self) -> None:
        context, self._unsent = self._unsent, None
        if context is not None:
            self._sent_at = self._clock.monotonic()
            self._send(_note_of(context))


def _planned(task_id: str, nodes: Sequence[Node]) -> str:
    """Return what `then` was given as the server takes it.

    Raises:
        ValueError: It is too much; and what `duly.engine.flows.plan` raises.
    """
    # Only here: with it come the store and redis-py, which few handlers make anything of.
    from duly.engine import flows

    steps = flows.encode_steps(
        [flows.plan(node, f"{task_id}.{place}") for place, node in enumerate(nodes, 1)]
    )
    if len(steps) > FRAME_LIMIT_BYTES // 4:
        raise ValueError(f"{len(steps)} bytes of successors: too many from a process")
    return steps.decode()


def _note_of(context: TaskContext) -> Note:
    said, draft = context.reported, context.draft
    return Note(
        fraction=said.fraction if said else None,
        note=said.note if said else "",
        draft=draft.decode() if draft is not None else None,
    )


def _raised(error: BaseException) -> Raised:
    # Our own frame on top of the handler's says nothing.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, frames, limit=-30))
    after = error.after if isinstance(error, Retry) else None
    return Raised(
        module=type(error).__module__,
        error=type(error).__name__,
        message=_printable(str(error)[:_ERROR_LIMIT]),
        traceback=_printable(text[-_TRACEBACK_LIMIT:]),
        verdict=next((name for name, kind in VERDICTS.items() if isinstance(error, kind)), ""),
        after_ms=None if after is None else round(after.total_seconds() * 1000),
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _die_with(server: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)


def main(argument: str) -> None:
    """Serve; the argument is a `Start` as JSON."""
    start = msgspec.json.decode(argument, type=Start)
    _die_with(start.server)
    os.set_inheritable(start.socket, False)  # noqa: FBT003 - what a handler starts shall not hold it
    if start.log is not None:
        logs.configure(LogSettings.model_validate(start.log), service=start.service)
    with socket.socket(fileno=start.socket) as end:
        Child(end).serve()
