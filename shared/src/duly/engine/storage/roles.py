"""Who may do what at the broker: an ACL rule for each role, made of what its code really calls.

A role names the scripts that it runs and the commands that it sends itself. The commands inside
the scripts are read from their texts, since the broker holds a script to its user's rights.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from duly.engine.storage.scripts.declaration import script_text

_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'(?:,\s*'([A-Z]+)')?")
_WITH_SUBCOMMANDS = frozenset({"CLIENT", "CLUSTER", "MEMORY", "XGROUP", "XINFO"})
_CONNECT = (
    *("PING", "INFO", "ROLE", "SELECT", "TIME", "ASKING"),
    *("CLIENT|ID", "CLIENT|UNBLOCK", "CLUSTER|SLOTS"),
)
"""What every connection needs: to find its node, and to check the broker."""
_RUN_SCRIPTS = ("EVAL", "EVALSHA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One role: what it is for, and what it calls."""

    name: str
    purpose: str
    commands: tuple[str, ...]
    """Sent by itself: `NAME`, or `NAME|SUBCOMMAND`."""
    scripts: tuple[str, ...] = ()

    @property
    def allowed(self) -> tuple[str, ...]:
        """Every command, its scripts' included, sorted."""
        inside = (command for script in self.scripts for command in commands_in(script))
        return tuple(sorted({*self.commands, *inside}))

    def rule(self, *, user: str, password: str) -> str:
        """Return the line of an ACL file for a user of this role.

        Args:
            user: The name of the user.
            password: `#` and the SHA-256 in hexadecimal, or `>` and the password itself; "": none,
                so that nobody can log in.
        """
        commands = " ".join(f"+{command.lower()}" for command in self.allowed)
        log_in = f"on {password}".rstrip()
        return f"user {user} {log_in} resetkeys ~duly:* resetchannels &duly:* -@all {commands}"


def commands_in(script: str) -> Iterable[str]:
    """Return the commands that a script calls."""
    found = _CALLED.findall(script_text(script))
    return {
        f"{name}|{subcommand}" if name in _WITH_SUBCOMMANDS and subcommand else name
        for name, subcommand in found
    }


_ENQUEUES = ("add", "group_add", "outbox_append", "outbox_deliver")
_REGISTERS = ("SADD", "SISMEMBER", "XGROUP|CREATE")
_PUBLISHES = ("publish_kinds", "forget_kinds")
_MAINTAINS = (
    "promote",
    "expired_leases",
    "reap",
    "prune",
    "expire_locks",
    "expire_groups",
    "release_permits",
)
_TIDIES = (
    *("SMEMBERS", "HGETALL", "HGET", "HSET", "HDEL", "HKEYS", "HLEN", "HMGET", "PEXPIRE"),
    *("ZCARD", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZMSCORE", "XRANGE", "XDEL"),
)
_LOOKS = (
    *("SMEMBERS", "SISMEMBER", "TYPE", "GET", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET"),
    *("HEXISTS", "HSCAN", "XLEN", "XPENDING", "XRANGE", "XREVRANGE", "XINFO|GROUPS", "ZCARD"),
    *("XINFO|CONSUMERS", "ZCOUNT", "ZLEXCOUNT", "ZMSCORE", "ZRANGE", "ZREVRANGE", "ZRANK"),
    *("ZRANGEBYLEX", "ZREVRANGEBYLEX", "ZREVRANK", "ZSCORE", "MEMORY|USAGE"),
)

ROLES: Final = {
    role.name: role
    for role in (
        Role(
            name="producer",
            purpose="enqueue tasks",
            commands=(*_CONNECT, *_RUN_SCRIPTS, *_REGISTERS, "SMEMBERS", "HMGET", "XRANGE", "XDEL"),
            scripts=_ENQUEUES,
        ),
        Role(
            name="scheduler",
            purpose="claim slots, enqueue their tasks, keep every queue in order",
            commands=(*_CONNECT, *_RUN_SCRIPTS, *_REGISTERS, *_TIDIES, "GET", "SET", "TYPE"),
            scripts=(
                *(*_ENQUEUES, *_MAINTAINS, *_PUBLISHES),
                *("tick", "claim_slot", "queue_figures"),
            ),
        ),
        Role(
            name="worker",
            purpose="take tasks, run them, enqueue others, keep their queues in order",
            commands=(
                *(*_CONNECT, *_RUN_SCRIPTS, *_REGISTERS, *_TIDIES),
                *("XREADGROUP", "XPENDING", "ZREVRANGE", "ZCOUNT", "ZRANK", "SUBSCRIBE"),
                *("ZADD", "ZREMRANGEBYSCORE"),
            ),
            scripts=(
                *(*_ENQUEUES, *_MAINTAINS, *_PUBLISHES, "heartbeat", "deregister", "complete"),
                *("complete_with_successors", "settle", "requeue", "write_partial_results"),
                *("acquire_permits", "group_claim", "group_complete", "operate"),
            ),
        ),
        Role(
            name="monitor",
            purpose="read and operate: the monitor and the command line",
            commands=(
                *(*_CONNECT, *_RUN_SCRIPTS, *_REGISTERS, *_LOOKS, "PUBLISH"),
                *("SET", "DEL", "UNLINK", "SREM", "HSETNX", "HDEL", "XDEL", "XADD", "XTRIM"),
            ),
            scripts=(
                *(*_ENQUEUES, "operate", "cancel", "edit", "rerun", "signal_server", "trigger"),
                *("cancel_join", "claim_slot", "survey", "holders", "newest_failed"),
            ),
        ),
        Role(
            name="viewer",
            purpose="read only: a monitor that is not to change anything",
            commands=(*_CONNECT, *_LOOKS),
        ),
        Role(
            name="keda",
            purpose="read how many tasks and groups wait",
            commands=(
                *("PING", "XLEN", "XPENDING", "XINFO|GROUPS", "CLUSTER|SLOTS", "SELECT"),
                # It asks for the number of groups by a script of its own.
                *("EVAL", "TYPE", "ZCARD", "LLEN"),
            ),
        ),
    )
}
