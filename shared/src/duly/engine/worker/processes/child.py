"""What runs in a process of its own: one handler after the other, as the worker's pool asks.

A child never outlives its worker. It reads the socket in a thread, and ends when the other end is
gone; where that thread cannot run, because a handler holds the interpreter's lock, the kernel
kills it (Linux). A handler may fork: the copy has no connection to the worker, and ends where the
handler does.
"""

import contextlib
import ctypes
import importlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from functools import reduce
from typing import Any, Final, NoReturn

import msgspec

from duly.clock import SystemClock, to_unix_ms
from duly.engine.worker.processes import inherited
from duly.engine.worker.processes.child_spans import ChildSpans
from duly.engine.worker.processes.messages import (
    CONNECTION_LOST,
    FRAME_LIMIT_BYTES,
    LENGTH_BYTES,
    Broker,
    Done,
    Note,
    Raised,
    Ready,
    Run,
    Start,
    Tell,
    frame,
)
from duly.engine.worker.processes.notes import Notes
from duly.engine.worker.processes.remote_errors import raised
from duly.flow import Node
from duly.payload import form_of
from duly.runtime import logs
from duly.runtime.attemptlog import ATTEMPT
from duly.runtime.returned import result_at_once
from duly.runtime.settings import LogSettings
from duly.task import Outside, TaskContext, encode_result

_PR_SET_PDEATHSIG: Final = 1
_ENDED_BY_SIGTERM: Final = 143


def load(name: str) -> Any:  # noqa: ANN401 - a handler or a job's class
    """Return what `module:name` names."""
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


class Child:
    """Runs one task at a time in the main thread, and listens in another."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._identity = end, _identity(end.fileno())
        self._requests: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._running: Run | None = None
        self._context: TaskContext | None = None
        self._notes: Notes | None = None
        self._cancelled = self._stopping = self._terminated = False
        self._forked = False
        self._writing = threading.Lock()
        self._spans = ChildSpans(lambda spans: self._send(frame(spans)))

    def serve(self) -> None:
        """Run what comes until the worker closes the connection."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.register_at_fork(after_in_child=self._fork)
        threading.Thread(target=self._listen, name="server", daemon=True).start()
        self._send(frame(Ready()))
        while not self._terminated and (run := self._requests.get()) is not None:
            answer = self._answer(run)
            self._running = self._context = None
            self._spans.flush()
            self._reply(answer)

    def _terminate(self, *_: object) -> NoReturn:
        # As an exception, so that what the handler has opened is closed.
        self._terminated = True
        raise SystemExit(_ENDED_BY_SIGTERM)

    def _fork(self) -> None:
        """Cut a copy of this process off from the worker; called in the copy."""
        self._forked = True
        self._writing = threading.Lock()
        self._spans.forked()
        if self._notes is not None:
            self._notes.forked()
        if _identity(self._end.fileno()) == self._identity:
            self._end.close()

    def _listen(self) -> None:
        while (message := self._receive()) is not None:
            if isinstance(message, Run):
                self._cancelled, self._running = False, message
                self._requests.put(message)
            elif isinstance(message, Broker):
                inherited.inherit(message)
            else:
                self._stopping = self._stopping or message.stopping
                self._cancelled = self._cancelled or message.cancelled
                if self._context is not None:
                    self._context.cancelled = self._cancelled
        if self._running is not None:
            os._exit(CONNECTION_LOST)  # what the handler does is of no use to anybody
        self._requests.put(None)

    def _receive(self) -> Run | Tell | Broker | None:
        try:
            length = self._end.recv(LENGTH_BYTES, socket.MSG_WAITALL)
            data = self._end.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            return msgspec.json.decode(data, type=Run | Tell | Broker)
        except (OSError, msgspec.DecodeError):
            return None

    def _send(self, data: bytes) -> None:
        """Send a frame; end this process where it has lost its connection."""
        with self._writing:
            if self._forked:
                return
            # A handler may have closed the descriptor, and opened a file of its own by its number.
            if _identity(self._end.fileno()) != self._identity:
                os._exit(CONNECTION_LOST)
            try:
                self._end.sendall(data)
            except OSError:
                os._exit(CONNECTION_LOST)

    def _note(self, note: Note) -> None:
        self._send(frame(note))

    def _reply(self, answer: Done | Raised) -> None:
        data = frame(answer)
        if len(data) > FRAME_LIMIT_BYTES:
            error = ValueError(f"{len(data)} bytes of a reply: too many from a process")
            data = frame(raised(error, answer.number))
        self._send(data)

    def _answer(self, run: Run) -> Done | Raised:
        self._notes = notes = Notes(run.number, self._note)
        caught: BaseException | None = None
        try:
            answer: Done | Raised = self._run(run, notes)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            answer, caught = raised(error, run.number), error
        if self._forked:
            _end_fork(caught, answer)
        answer.note = notes.close()
        return answer

    def _run(self, run: Run, notes: Notes) -> Done | Raised:
        context = self._context_of(run, notes)
        self._context = context
        ATTEMPT.set(context)
        context.cancelled = self._cancelled
        handler, job = load(run.handler), load(run.job)
        with self._spans.below_attempt(run):
            result = result_at_once(handler(form_of(job).from_json(run.payload), context))
        encoded = msgspec.Raw(encode_result(result if run.keeps else None))
        next_ones = context.successors
        successors = _planned(context.id, next_ones) if next_ones else ""
        return Done(run.number, encoded, successors=successors)

    def _context_of(self, run: Run, notes: Notes) -> TaskContext:
        clock = SystemClock()
        outside = Outside(
            now_ms=lambda: to_unix_ms(clock.now()) + run.offset_ms,
            progressed=notes.take,
            partial_result_written=notes.take,
        )
        return TaskContext(
            **msgspec.structs.asdict(run.facts), stopping=self._is_stopping, outside=outside
        )

    def _is_stopping(self) -> bool:
        return self._stopping


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Return what a file descriptor stands for; None when it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _end_fork(error: BaseException | None, answer: Done | Raised) -> NoReturn:
    """End a process that a handler has forked, as Python ends one: nobody waits for its answer."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif isinstance(answer, Raised):
        code = 1
        sys.stderr.write(answer.traceback)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def _planned(task_id: str, nodes: Sequence[Node]) -> str:
    """Return what `then` was given as the worker takes it.

    Raises:
        ValueError: It is too much; and what `duly.engine.enqueue.flows.plan` raises.
    """
    # Imported here only: with it come the store and the transport, which few handlers use.
    from duly.engine.enqueue import flows

    steps = flows.encode_steps(
        [flows.plan(node, f"{task_id}.{place}") for place, node in enumerate(nodes, 1)]
    )
    if len(steps) > FRAME_LIMIT_BYTES // 4:
        raise ValueError(f"{len(steps)} bytes of successors: too many from a process")
    return steps.decode()


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
        # Without a thread: no loop waits here, and what a handler logged is out when it dies.
        settings = LogSettings.model_validate(start.log)
        logs.configure(settings, service=start.service, direct=True)
    with socket.socket(fileno=start.socket) as end:
        Child(end).serve()
