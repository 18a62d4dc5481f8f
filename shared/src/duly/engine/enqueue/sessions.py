"""The connections that the threads of one process share: each call has one for itself."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType

from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.enqueuer import Enqueuer
from duly.engine.storage.store import Store
from duly.engine.transport.blocking_connection import BlockingConnection, BlockingEndpoints
from duly.errors import BrokerDownError, DulyError
from duly.runtime.settings import QueueSettings, RedisSettings

_MOST = 16
"""Connections of one process. Threads mostly do something else than enqueue."""


class Sessions:
    """Lends sessions to calls. Belongs to one process.

    The one returned last is lent first, so there are as many connections as calls at a time.

    Raises:
        ConfigError: The address, a sentinel or a certificate cannot be used.
    """

    def __init__(
        self,
        settings: RedisSettings,
        queues: Mapping[str, QueueSettings] | None,
        *,
        create_queues: bool,
    ) -> None:
        self.settings = settings
        self.endpoints = BlockingEndpoints(settings, self._moved)
        self._first = Session(self, partial(DeclaredQueues, queues=queues, create=create_queues))
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)
        self._idle: list[Session] = []
        self._all: list[Session] = []
        self._waiting = 0
        self._closed = False

    def take(self) -> "Session":
        """Lend a session; it is the context of its use.

        Raises:
            BrokerDownError: None was returned within the timeout.
            DulyError: The client is closed.
        """
        try:
            # A list can be shared without the lock, which whoever adds one by one would feel.
            return self._idle.pop()
        except IndexError:
            return self._another()

    def _another(self) -> "Session":
        with self._lock:
            if len(self._all) == _MOST:
                return self._waited_for()
            self._check_open()
            session = Session(self, self._first.queues.over) if self._all else self._first
            self._all.append(session)
            return session

    def give_back(self, session: "Session") -> None:
        """Take a session back."""
        self._idle.append(session)
        if not (self._waiting or self._closed):
            return
        with self._lock:
            self._returned.notify()
        if self._closed:
            self._close_idle()

    def close(self) -> None:
        """Close all connections. A call that is under way fails, and its thread closes its own."""
        with self._lock:
            self._closed = True
            self._returned.notify_all()
        closed = self._close_idle()
        for session in self._all:
            if session not in closed:
                session.connection.end()
        self.endpoints.end()

    def abandon(self) -> None:
        """Close a forked process's share of its parent's connections."""
        # Without the lock, which a thread that is not in the child may have held.
        for session in self._all:
            session.connection.abandon()

    def _close_idle(self) -> "list[Session]":
        """Close the connections that nobody uses; whoever takes one from the list closes it."""
        closed = list[Session]()
        with suppress(IndexError):
            while True:
                session = self._idle.pop()
                session.connection.close()
                closed.append(session)
        return closed

    def _check_open(self) -> None:
        if self._closed:
            raise DulyError("the client is not open: use it as a context manager")

    def _waited_for(self) -> "Session":
        """Wait until a session is idle, and take it. The lock is held."""
        seconds = self.endpoints.address.timeout
        deadline = monotonic() + seconds
        self._waiting += 1
        try:
            while True:
                self._check_open()
                with suppress(IndexError):
                    return self._idle.pop()
                left = deadline - monotonic()
                if left <= 0:
                    cause = f"{_MOST} calls are under way, and none has ended within {seconds:g} s"
                    raise BrokerDownError(str(self.endpoints), cause)
                self._returned.wait(left)
        finally:
            self._waiting -= 1

    def _moved(self) -> None:
        """Leave a server that is no longer the master. In the thread of the sentinels' loop."""
        for session in tuple(self._all):
            session.connection.leave()


class Session:
    """A connection, and what enqueues over it. Used by one thread at a time."""

    def __init__(self, lender: Sessions, queues_over: Callable[[Store], DeclaredQueues]) -> None:
        self._lender = lender
        self.connection = BlockingConnection(lender.settings, lender.endpoints)
        store = Store(self.connection)
        self.queues = queues_over(store)
        self._enqueuer = Enqueuer(store, self.queues)

    def __enter__(self) -> Enqueuer:
        """Return what enqueues."""
        return self._enqueuer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._lender.give_back(self)
