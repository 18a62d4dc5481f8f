"""Brings tasks that a program's own database holds to the broker, and finds out that they are safe.

A task is kept there as `add` takes it, so that whoever forwards it needs none of the application's
classes. Its id was chosen when it was written down: to forward it again adds nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec
import structlog

from duly.clock import SystemClock
from duly.engine.enqueue.adder import Adder, batches
from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.request import QUEUE_FULL, Request, is_accepted, prepare
from duly.engine.middleware.tracing import headers_of_current_span
from duly.engine.storage.codec import decode
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store
from duly.engine.transport.blocking_connection import BlockingConnection, BlockingEndpoints
from duly.engine.transport.turns import finished
from duly.errors import BrokerDownError, BrokerError, BrokerWriteError, DulyError
from duly.runtime.settings import QueueSettings, RedisSettings

_SYNC_TRIES = 5
_SYNC_SECONDS = 3.0
"""After it `appendfsync everysec` has written even on a slow disk."""
_MOST_SEEN = 100_000
_UNSUPPORTED = ("unknown command", "appendonly is disabled", "NOPERM")


class KeptTask(msgspec.Struct, kw_only=True, frozen=True):
    """A task on its way to the broker, in the columns of a table."""

    task_id: str
    queue: str
    kind: str
    message: str
    """JSON."""
    due_ms: int = 0
    lock: str = ""
    lock_ttl_ms: int = 0
    group_terms: str | None = None
    """JSON: kind and name, grace and delay in ms, most members."""

    def new(self) -> NewTask:
        """Return it as `add` takes it.

        Raises:
            DulyError: Its columns have been changed, so that it is no task any more.
        """
        data = self.message.encode()
        if decode(data).task_id != self.task_id:
            raise DulyError("its message has another id than its row")
        queue_keys(self.queue)
        group = None
        if self.group_terms is not None:
            group = msgspec.json.decode(self.group_terms, type=tuple[str, int, int, int])
        return NewTask(
            id=self.task_id,
            data=data,
            due_ms=self.due_ms,
            lock=self.lock,
            lock_ttl_ms=self.lock_ttl_ms,
            group=group,
        )


def kept(request: Request, now_ms: int) -> KeptTask:
    """Return a request as it is kept in a database.

    Args:
        request: What is wanted.
        now_ms: This machine's time: a delay is counted from it.

    Raises:
        EnqueueError: It is wrong in itself.
    """
    item = prepare(request, now_ms, headers_of_current_span())
    new = item.new
    return KeptTask(
        task_id=new.id,
        queue=item.queue,
        kind=request.job.kind,
        message=new.data.decode(),
        due_ms=new.due_ms,
        lock=new.lock,
        lock_ttl_ms=new.lock_ttl_ms,
        group_terms=msgspec.json.encode(new.group).decode() if new.group else None,
    )


@dataclass(slots=True)
class Forwarded:
    """What became of some tasks, by their ids. What is in neither is to be forwarded again."""

    arrived: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Why it will never be accepted."""
    held: dict[str, BrokerError | None] = field(default_factory=dict)
    """Queue → why it takes nothing now; None: it is full."""


class Forwarder:
    """Forwards tasks over a connection of its own. Used by one thread at a time.

    Args:
        settings: The broker.
        queues: The declared queues, with their limits; None: any queue will do.
        confirm: Wait until the broker has written the tasks to its disk, where it can say so.
    """

    def __init__(
        self,
        settings: RedisSettings,
        queues: Mapping[str, QueueSettings] | None = None,
        *,
        confirm: bool = True,
    ) -> None:
        self._endpoints = BlockingEndpoints(settings, self._moved)
        self._connection = BlockingConnection(settings, self._endpoints)
        self._confirm = confirm
        self._store = Store(self._connection)
        self._adder = Adder(self._store, DeclaredQueues(self._store, queues))
        self._monotonic = SystemClock.monotonic
        self._seen: dict[str, tuple[float, int]] = {}
        self._log = structlog.get_logger("duly.outbox")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._endpoints.end()

    def forward(self, tasks: Sequence[KeptTask]) -> Forwarded:
        """Add tasks, each for itself, and return once those that have arrived are safe.

        Raises:
            BrokerDownError: The broker did not answer. Forward all of them again.
            BrokerWriteError: Its memory or disk is full.
        """
        found = Forwarded()
        new: list[tuple[str, NewTask]] = []
        for task in tasks:
            try:
                new.append((task.queue, task.new()))
            except (DulyError, msgspec.MsgspecError, ValueError) as error:
                found.refused[task.task_id] = f"malformed: {error}"
        for queue, group in groupby(sorted(new, key=lambda item: item[0]), lambda item: item[0]):
            for batch in batches([task for _, task in group], lambda task: len(task.data)):
                if queue not in found.held:
                    self._add(queue, batch, found)
        return found

    def _add(self, queue: str, batch: list[NewTask], found: Forwarded) -> None:
        try:
            # Asking first opens the connection, so that the tasks are written on one that is known.
            there = finished(self._store.present(queue, [task.id for task in batch]))
            opened = self._connection.opened
            missing = [task for task, is_there in zip(batch, there, strict=True) if not is_there]
            answers = finished(self._adder.add(queue, missing)) if missing else []
            safe = self._is_on_disk(queue, opened) if missing else True
        except (BrokerDownError, BrokerWriteError):
            raise
        except BrokerError as error:
            found.held[queue] = error
            return
        found.arrived += [
            task.id
            for task, is_there in zip(batch, there, strict=True)
            if is_there and self._was_written(task.id)
        ]
        for task, answer in zip(missing, answers, strict=True):
            if answer == QUEUE_FULL:
                found.held[queue] = None
            elif isinstance(answer, str):
                found.refused[task.id] = f"unique: the task {answer} has not ended"
            elif is_accepted(answer) and safe:
                found.arrived.append(task.id)

    def _is_on_disk(self, queue: str, opened: int) -> bool:
        """Tell whether the broker has on its disk what was just added."""
        for _ in range(_SYNC_TRIES if self._confirm else 0):
            try:
                synced = finished(self._connection.synced(queue_keys(queue).stream))
            except BrokerDownError:
                raise
            except BrokerError as error:
                if not any(sign in str(error) for sign in _UNSUPPORTED):
                    raise
                self._confirm = False
                self._log.warning("Broker does not say what is on its disk", error=str(error))
                break
            if synced:
                # On another connection it answers for what was written there: nothing.
                return self._connection.opened == opened
        return not self._confirm

    def _was_written(self, task_id: str) -> bool:
        """Tell whether a task that an earlier attempt has added is on the broker's disk by now.

        Nobody can be asked that. It counts as written once it has been there for some seconds.
        """
        if not self._confirm:
            return True
        now, opened = self._monotonic(), self._connection.opened
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
        since, on = self._seen.setdefault(task_id, (now, opened))
        if on != opened:
            self._seen[task_id] = (now, opened)
            return False
        if now - since < _SYNC_SECONDS:
            return False
        del self._seen[task_id]
        return True

    def _moved(self) -> None:
        self._connection.leave()
