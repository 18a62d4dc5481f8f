"""Errors between a client and a server, classified by what the client has to do about them.

redis-py has similar classes, but importing them imports all of redis-py: 12 MB per process.
"""

import re


class TransportError(Exception):
    """The root of these errors."""


class UnavailableError(TransportError):
    """Temporary: no connection, no reply, or a server that cannot serve yet."""


class ConnectionLostError(UnavailableError):
    """No connection could be opened, or it broke before the reply arrived."""


class OverdueError(UnavailableError):
    """No connection or no reply within the time allowed."""


class NotReadyError(UnavailableError):
    """The server answered that it cannot serve now.

    It is loading its data, running a script, out of connections, or part of a cluster that is down.
    """


class ClusterDownError(NotReadyError):
    """No node serves the slot, or the cluster has lost its majority."""


class SlotMovingError(NotReadyError):
    """The keys of a command are spread over two nodes while their slot moves (TRYAGAIN)."""


class NotMasterError(UnavailableError):
    """The server is a replica: a failover has made another one the master."""


class ReplyError(TransportError):
    """The server refused the command."""


class NoScriptError(ReplyError):
    """The server does not know a script of this digest."""


class LogInError(ReplyError):
    """The server refused user or password."""


class NoPermissionError(ReplyError):
    """The user may not run this command, or not on these keys or channels."""


class MovedError(ReplyError):
    """Another node serves the slot. The reply reads `MOVED slot host:port`.

    Attributes:
        slot: The slot.
        host: Of the node that serves it; "": the host that was asked.
        port: Of that node.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        _, slot, place = text.split(" ", 2)
        host, _, port = place.rpartition(":")
        self.slot, self.host, self.port = int(slot), host, int(port)


class AskError(MovedError):
    """Another node serves this one command, because the slot is moving there."""


_PLACE = re.compile(r"([0-9]{1,5}) \S*:([0-9]{1,5})", re.ASCII)
_SLOTS, _LAST_PORT = 16_384, 65_535
_KINDS: dict[str, type[TransportError]] = {
    "NOSCRIPT": NoScriptError,
    "READONLY": NotMasterError,
    "LOADING": NotReadyError,
    "BUSY": NotReadyError,
    "MASTERDOWN": NotReadyError,
    "CLUSTERDOWN": ClusterDownError,
    "TRYAGAIN": SlotMovingError,
    "NOAUTH": LogInError,
    "WRONGPASS": LogInError,
    "NOPERM": NoPermissionError,
    "MOVED": MovedError,
    "ASK": AskError,
}
_SIGNS: dict[str, type[TransportError]] = {
    # Redis 6 wraps the error of a command in a script in a longer message.
    "READONLY You can": NotMasterError,
    # Blocked clients are released with this when their server becomes a replica.
    "instance state changed": NotMasterError,
    "max number of clients": NotReadyError,
    "without any password configured": LogInError,
}


def _is_place(text: str) -> bool:
    """Tell whether this is `slot host:port`, with a slot and a port that there can be."""
    found = _PLACE.fullmatch(text)
    return found is not None and int(found[1]) < _SLOTS and int(found[2]) <= _LAST_PORT


def error_of(message: str) -> TransportError:
    """Return the error that an error reply stands for."""
    word, _, rest = message.partition(" ")
    known = _KINDS.get(word)
    if known is not None and issubclass(known, MovedError) and not _is_place(rest):
        known = ReplyError  # a command that waits for its reply has to get one
    if known is None:
        known = next((error for sign, error in _SIGNS.items() if sign in message), ReplyError)
    return known(message)
