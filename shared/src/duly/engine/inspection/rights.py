"""What a user may do at the broker, compared with what a role needs: found out by trying.

Only an administrator may ask the broker for a user's rule. So each command of the role is sent in a
form that changes nothing: on a key that does not exist, with an argument that is refused later
than the rights are, or in a script that may not write.
"""

from dataclasses import dataclass
from typing import Any, Final

from duly.engine.storage.roles import Role
from duly.engine.transport.connection import Connection, broker_errors
from duly.engine.transport.errors import NoPermissionError, ReplyError
from duly.engine.transport.subscriber import subscribe
from duly.errors import BrokerError
from duly.runtime.settings import RedisSettings

_PATTERN: Final = "duly:*"
_KEY: Final = "duly:{acl-check}:nothing"
_CHANNEL: Final = "duly:acl-check"
_NO_WRITES: Final = "#!lua flags=no-writes\nreturn redis.pcall(unpack(ARGV))"
"""Needs Redis 7. The rights are checked before the flag is."""
_KEYLESS: Final[dict[str, tuple[str, ...]]] = {
    "ASKING": (),
    "CLIENT|ID": (),
    "CLIENT|UNBLOCK": ("0",),
    "CLUSTER|SLOTS": (),
    "INFO": (),
    "PING": (),
    "PUBLISH": (_CHANNEL, ""),
    "ROLE": (),
    "TIME": (),
    "EVAL": ("return 0", "1", _KEY),
    "EVALSHA": ("0" * 40, "1", _KEY),
    "XREADGROUP": ("GROUP", "g", "c", "STREAMS", _KEY, ">"),
}
_AFTER_KEY: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("DEL", "UNLINK", "EXISTS", "GET", "LLEN", "TYPE", "PERSIST"), ()),
    **dict.fromkeys(("HGETALL", "HKEYS", "HLEN", "SMEMBERS", "XLEN", "XINFO|GROUPS", "ZCARD"), ()),
    "MEMORY|USAGE": (),
    **dict.fromkeys(("HDEL", "HEXISTS", "HGET", "HMGET", "HSTRLEN", "SISMEMBER", "SREM"), ("m",)),
    **dict.fromkeys(("ZMSCORE", "ZRANK", "ZREM", "ZREVRANK", "ZSCORE"), ("m",)),
    **dict.fromkeys(("XPENDING", "XINFO|CONSUMERS"), ("g",)),
    **dict.fromkeys(("EXPIRE", "PEXPIRE"), ("1",)),
    **dict.fromkeys(("ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREVRANGE"), ("0", "0")),
    **dict.fromkeys(("ZLEXCOUNT", "ZRANGEBYLEX", "XRANGE"), ("-", "+")),
    **dict.fromkeys(("ZREVRANGEBYLEX", "XREVRANGE"), ("+", "-")),
    "ZREMRANGEBYSCORE": ("0", "0"),
    "SET": ("x", "XX"),
    "HSCAN": ("0",),
    "HSET": ("f", "v", "a field too many"),
    "HINCRBY": ("f", "no number"),
    "XACK": ("g", "0-1"),
    "XADD": ("no id", "f", "v"),
    "XDEL": ("0-1",),
    "XGROUP|CREATE": ("g", "0"),
    "XGROUP|DELCONSUMER": ("g", "c"),
    "XTRIM": ("MAXLEN", "0"),
    "ZADD": ("no number", "m"),
}
_IN_SCRIPTS: Final[dict[str, tuple[str, ...]]] = {"SADD": ("m",), "HSETNX": ("f", "v")}
"""Those that have no other harmless form."""
_REFUSED_IN_SCRIPTS: Final = ("has no permissions to", "No permissions to", "executing the script")
"""What brokers answer from Redis 7.2 on, and before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What one user lacks for one role; all empty: nothing."""

    user: str
    role: str
    commands: tuple[str, ...] = ()
    """Refused, sorted: `hset`, `xgroup|create`."""
    keys: tuple[str, ...] = ()
    """Patterns of keys that the user may not read or write."""
    channels: tuple[str, ...] = ()
    """Patterns of channels that the user may not use."""
    untried: tuple[str, ...] = ()
    """Commands that could not be tried without a change: that takes EVAL, and Redis 7."""

    @property
    def suffice(self) -> bool:
        """Whether nothing is known to be missing."""
        return not (self.commands or self.keys or self.channels)

    @property
    def additions(self) -> str:
        """What to add to the user's rule: `+hset ~duly:*`."""
        words = [f"+{command}" for command in self.commands]
        words += [f"~{pattern}" for pattern in self.keys]
        return " ".join([*words, *(f"&{pattern}" for pattern in self.channels)])


async def rights_for(settings: RedisSettings, role: Role) -> Rights:
    """Try what a role does, as the user of the settings. Changes nothing at the broker.

    Args:
        settings: The broker, and the user that logs in.
        role: The role that the user is to fill.

    Raises:
        BrokerDownError: The broker does not answer.
        BrokerError: It refused the user's name or password.
        ConfigError: The settings name no broker that could be asked.
    """
    async with Connection.open(settings) as connection:
        user = connection.endpoints.address.username or "default"
        found: dict[str, set[str]] = {"commands": set(), "keys": set(), "channels": set()}
        untried = set()
        for command in role.allowed:
            lacking = await _try(connection, command)
            if lacking is None:
                untried.add(command.lower())
            elif lacking:
                found[lacking].add(command.lower() if lacking == "commands" else _PATTERN)
        missing: dict[str, Any] = {name: tuple(sorted(what)) for name, what in found.items()}
        return Rights(user=user, role=role.name, untried=tuple(sorted(untried)), **missing)


async def _try(connection: Connection, command: str) -> str | None:
    """Return which sort of right is lacking for a command; "": none, None: it cannot be tried."""
    name = command.split("|")
    try:
        if command == "SUBSCRIBE":
            await _listen(connection)
        elif command == "SELECT":
            await connection.command("SELECT", connection.endpoints.address.db)
        elif command in _KEYLESS:
            await connection.command(*name, *_KEYLESS[command])
        elif command in _IN_SCRIPTS:
            await connection.command(
                *("EVAL", _NO_WRITES, "1", _KEY, command, _KEY), *_IN_SCRIPTS[command]
            )
        else:
            await connection.command(*name, _KEY, *_AFTER_KEY[command])
    except BrokerError as error:
        return _lacking(error, in_script=command in _IN_SCRIPTS)
    return ""


async def _listen(connection: Connection) -> None:
    with broker_errors(connection.address):
        if connection.cluster is None:
            endpoint = await connection.endpoints.find()
        else:
            endpoint = connection.cluster.at(await connection.cluster.node_of(_KEY))
        wire = await subscribe(endpoint, [_CHANNEL], lambda *_: None, connection.seconds)
        wire.close()


def _lacking(error: BrokerError, *, in_script: bool) -> str | None:
    """Read a refusal; what the broker refuses for other reasons, the user may do."""
    cause, text = error.__cause__, str(error.__cause__)
    if not isinstance(cause, ReplyError):
        raise error
    if in_script:
        if "Write commands are not allowed" in text:
            return ""
        if "'eval'" in text or not any(sign in text for sign in _REFUSED_IN_SCRIPTS):
            return None
    elif not isinstance(cause, NoPermissionError):
        return ""
    if "access" not in text:
        return "commands"
    return "channels" if "channel" in text else "keys"
