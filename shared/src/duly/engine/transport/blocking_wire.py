"""One connection to one server for code without an event loop: hiredis on a socket.

The pipelined connection of `protocol` needs a loop. In a thread of its own that loop made each call
of another thread change threads twice, which cost more than the call itself (ADR 0039).
"""

import os
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from select import POLLIN, poll
from time import monotonic
from typing import Any

import hiredis

from duly.engine.transport.errors import (
    ConnectionLostError,
    OverdueError,
    TransportError,
    error_of,
)
from duly.engine.transport.packing import pack
from duly.engine.transport.protocol import CLOSED, NOTHING, Endpoint

_CHUNK = 16_384
_NONE = -1
_IDLE_SECONDS = 0.05
"""A connection that was idle for longer is looked at before it is used: it may be closed."""
_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Sent:
    """A command on its way."""

    __slots__ = ("reply",)

    def __init__(self) -> None:
        self.reply: Any = NOTHING


class BlockingWire:
    """Commands out, replies back, in order. Used by one thread at a time.

    Args:
        connected: To the server; the wire closes it.
        timeout: Seconds that a reply may take.

    Attributes:
        closed: Whether another connection is needed.
    """

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        self._socket, self._timeout = connected, timeout
        self._descriptor = _NONE if isinstance(connected, ssl.SSLSocket) else connected.fileno()
        self._parser = hiredis.Reader(notEnoughData=NOTHING)
        self._pending: deque[Sent] = deque()
        self._failure: TransportError | None = None
        self._used = monotonic()
        self._closing = threading.Lock()
        self.closed = False
        connected.settimeout(timeout)

    def allow(self, seconds: float) -> None:
        """Give the next replies this long."""
        self._timeout = seconds
        self._socket.settimeout(seconds)

    def is_usable(self) -> bool:
        """Tell whether it is open; after a while without use, whether the server has closed it."""
        if self.closed or self._pending or monotonic() - self._used < _IDLE_SECONDS:
            return not self.closed
        look = poll()
        look.register(self._socket, POLLIN)
        return not look.poll(0) or self._survives()

    def send(self, args: tuple[Any, ...]) -> Sent:
        """Send a command; `receive` returns its reply.

        Raises:
            UnavailableError: The connection is closed, or broke.
        """
        if self.closed:
            raise self._failure or ConnectionLostError(CLOSED)
        try:
            self._write(pack(args))
        except BaseException as error:
            self._break(error)
            raise
        sent = Sent()
        self._pending.append(sent)
        return sent

    def receive(self, sent: Sent) -> Any:  # noqa: ANN401 - whatever the command answers
        """Return the reply of a command, once those sent before it have been read.

        Raises:
            UnavailableError: No reply within the timeout, or the connection broke.
            TransportError: The reply is an error.
        """
        if sent.reply is NOTHING:
            if self.closed:
                raise self._failure or ConnectionLostError(CLOSED)
            try:
                self._read(sent)
            except BaseException as error:
                self._break(error)
                raise
        reply = sent.reply
        if isinstance(reply, hiredis.ReplyError):
            raise error_of(str(reply))
        return reply

    def call(self, args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send a command and return its reply."""
        return self.receive(self.send(args))

    def interrupt(self) -> None:
        """Make the thread that uses it leave the connection, even while it waits for a reply."""
        with self._closing:
            if not self.closed:
                self.closed = True
                with suppress(OSError):
                    # Not SSLSocket's own, which would take away what the other thread reads from.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Only where no other thread uses it."""
        with self._closing:
            self.closed, self._descriptor = True, _NONE
            self._socket.close()

    def abandon(self) -> None:
        """Close a forked process's share of the connection; its parent goes on with it."""
        # Without the lock, which a thread that is not in the child may have held.
        self.closed, self._descriptor = True, _NONE
        self._socket.close()

    def _write(self, data: bytes) -> None:
        """Send it all. Mostly the kernel takes it at once, and need not be asked before."""
        written = 0
        if self._descriptor != _NONE:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:
                written = 0
        if written < len(data):
            self._socket.sendall(memoryview(data)[written:])

    def _read(self, sent: Sent) -> None:
        """Read replies, that of this command included."""
        parser, pending, receive = self._parser, self._pending, self._socket.recv
        deadline = 0.0
        while True:
            if not (data := receive(_CHUNK)):
                raise ConnectionLostError(CLOSED)
            parser.feed(data)
            while (reply := parser.gets()) is not NOTHING:
                if not pending:
                    raise ConnectionLostError("a reply that nobody asked for")
                pending.popleft().reply = reply
            self._used = now = monotonic()
            if sent.reply is not NOTHING:
                break
            # What comes in slices does not get the whole time for each.
            deadline = deadline or now + self._timeout
            if now >= deadline:
                raise TimeoutError
            self._socket.settimeout(deadline - now)
        if deadline:
            self._socket.settimeout(self._timeout)

    def _survives(self) -> bool:
        """Tell whether a connection on which something has arrived unasked is still good.

        A new session ticket of TLS is no reason to leave it; an end is one, and so is a server that
        speaks first, as one that is full does.
        """
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._socket.settimeout(self._timeout)
            return True
        except OSError:
            pass
        self.close()
        return False

    def _break(self, error: BaseException) -> None:
        """Close the connection, on which replies can no longer be told apart.

        Raises:
            UnavailableError: What the error means; nothing when it is not about the connection.
        """
        interrupted = self.closed
        self.close()
        if isinstance(error, TransportError):
            self._failure = error
            return
        if isinstance(error, TimeoutError) and not interrupted:
            self._failure = OverdueError(f"no reply within {self._timeout:g} s")
        elif isinstance(error, hiredis.ProtocolError):
            self._failure = ConnectionLostError(f"not a Redis reply: {error}")
        elif isinstance(error, OSError):
            cause = CLOSED if interrupted else str(error) or type(error).__name__
            self._failure = ConnectionLostError(cause)
        else:
            return
        raise self._failure from error


def open_wire(endpoint: Endpoint, timeout: float, connect_timeout: float) -> BlockingWire:
    """Return a wire to a server that has been greeted.

    Args:
        endpoint: The server.
        timeout: Seconds that each reply may take.
        connect_timeout: Seconds that the connection and the greeting may take.

    Raises:
        UnavailableError: No connection.
        TransportError: The greeting was refused.
    """
    deadline = monotonic() + connect_timeout
    try:
        wire = BlockingWire(_connected(endpoint, deadline), timeout)
        try:
            for command in endpoint.greeting():
                wire.allow(_left(deadline))
                wire.call(command)
        except BaseException:
            wire.close()
            raise
    except (TimeoutError, OverdueError):
        raise OverdueError(f"no connection within {connect_timeout:.2g} s") from None
    except (OSError, UnicodeError) as error:  # a name that cannot be one of a host
        raise ConnectionLostError(str(error) or type(error).__name__) from error
    wire.allow(timeout)
    return wire


def _left(deadline: float) -> float:
    """Return the seconds until a deadline.

    Raises:
        TimeoutError: There are none.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connected(endpoint: Endpoint, deadline: float) -> socket.socket:
    if endpoint.path:
        place: _Address = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", endpoint.path)
        return _to(place, deadline)
    places = _places(endpoint, deadline)
    for number, place in enumerate(places, 1):
        # One that does not answer leaves time for the others.
        share = _left(deadline) / (len(places) - number + 1)
        try:
            plain = _to(place, monotonic() + share)
            break
        except OSError:
            if number == len(places):
                raise
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if endpoint.tls is None:
        return plain
    try:
        plain.settimeout(_left(deadline))
        return endpoint.tls.wrap_socket(plain, server_hostname=endpoint.host)
    except BaseException:
        plain.close()
        raise


def _to(place: _Address, deadline: float) -> socket.socket:
    family, kind, protocol, _, address = place
    made = socket.socket(family, kind, protocol)
    try:
        made.settimeout(_left(deadline))
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _places(endpoint: Endpoint, deadline: float) -> list[_Address]:
    """Return the addresses of a server. A name is asked for in a thread: it may take long."""

    def ask(flags: int = 0) -> list[_Address]:
        host, port, family = endpoint.host, endpoint.port, endpoint.family
        return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags))

    with suppress(socket.gaierror):
        return ask(socket.AI_NUMERICHOST)
    answers: SimpleQueue[list[_Address] | Exception] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put(ask())
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            answers.put(error)

    threading.Thread(target=answer, name="duly-resolver", daemon=True).start()
    try:
        found = answers.get(timeout=_left(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found
