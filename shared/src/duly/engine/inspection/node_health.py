"""The health of the broker's nodes in words, each with what to do about it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from duly.clock import from_unix_ms
from duly.engine.inspection.health import Health, Level, fullness
from duly.engine.inspection.node_info import NodeReport
from duly.plurals import plural
from duly.quantities import duration, size

SLOW: Final = timedelta(milliseconds=100)
"""A node that takes longer to answer slows every worker down."""
APART: Final = timedelta(seconds=5)
"""Ages and logs mislead when clocks are further apart than this."""
LAGGING: Final = timedelta(seconds=10)
OLD_SNAPSHOT: Final = timedelta(hours=1)
SPARSE: Final = 1.5
"""From this much resident by used memory on, memory is fragmented …"""
_WORTH_MENDING = 256 << 20
"""… and it matters, with so many bytes."""
_KEEPS = "noeviction"
_DIGITS = 16
"""Of µs since 1970: enough until the year 2286."""


def of_node(node: NodeReport, now: datetime) -> list[Health]:
    """Return all that is wrong with a node, worst first; nothing when all is well."""
    if not node.raw:
        words = (
            "says nothing of itself: it does not answer, or this user may not run INFO "
            "(grant +info)"
        )
        return [Health(Level.WARN, words)]
    found = [*_memory(node), *_clients(node), *_disk(node, now), *_replication(node)]
    found += [*_speed(node), *_clock(node, now)]
    return sorted(found, key=lambda health: health.level.rank)


def _memory(node: NodeReport) -> Iterable[Health]:
    used, limit = node.broker.memory_bytes or 0, node.broker.memory_limit_bytes or 0
    if (level := fullness(used, limit)) is not None:
        words = (
            f"uses {size(used)} of {size(limit)}; once full, it refuses new tasks: raise "
            "maxmemory, or delete archived and completed tasks"
        )
        yield Health(level, words)
    if node.evicted:
        keys = plural(node.evicted, "key")
        words = (
            f"has evicted {keys} since it started: tasks are lost; set maxmemory-policy {_KEEPS}"
        )
        yield Health(Level.BAD, words)
    elif node.eviction not in ("", _KEEPS):
        level = Level.BAD if limit else Level.WARN
        words = (
            f"its maxmemory-policy is {node.eviction:.40}: once full, it deletes tasks; set it to "
            f"{_KEEPS}"
        )
        yield Health(level, words)
    resident = node.memory_resident_bytes or 0
    if (node.fragmentation or 0) >= SPARSE and resident >= _WORTH_MENDING:
        words = (
            f"takes {size(resident)} of the machine, {node.fragmentation:.1f} times what it uses: "
            "set activedefrag yes, or restart it at a quiet time"
        )
        yield Health(Level.NOTE, words)


def _clients(node: NodeReport) -> Iterable[Health]:
    clients, limit = node.broker.clients or 0, node.clients_limit or 0
    if (level := fullness(clients, limit)) is not None:
        words = (
            f"has {clients:,} of {limit:,} connections; beyond, workers cannot connect: raise "
            "maxclients, or find who keeps them with CLIENT LIST"
        )
        yield Health(level, words)
    if node.clients_rejected:
        rejected = plural(node.clients_rejected, "connection")
        words = f"has refused {rejected} since it started, with too many open"
        yield Health(Level.NOTE, words)


def _disk(node: NodeReport, now: datetime) -> Iterable[Health]:
    if node.loading:
        yield Health(Level.BAD, "reads its data from the disk, and answers nothing until then")
    if node.save_failed:
        words = (
            "its last snapshot failed, and it may refuse writes: look for a full disk in its log"
        )
        yield Health(Level.BAD, words)
    if node.aof_failed:
        words = "cannot write its log of writes (AOF): look for a full disk in its log"
        yield Health(Level.BAD, words)
    if node.aof or node.aof is None or node.role == "slave":
        return
    old = node.saved_at is not None and now - node.saved_at > OLD_SNAPSHOT
    if node.changes and old:
        since = duration(now - node.saved_at) if node.saved_at else ""
        words = (
            f"would lose {plural(node.changes, 'write')} of {since} if it died now: there is no "
            "AOF (set appendonly yes)"
        )
        yield Health(Level.WARN, words)
    else:
        words = "would lose what came after its last snapshot if it died: there is no AOF"
        yield Health(Level.NOTE, words)


def _replication(node: NodeReport) -> Iterable[Health]:
    if node.role == "slave":
        link = ", and has lost its master" if node.master_link_up is False else ""
        words = f"is a replica{link}: it takes no writes, so that no task moves; name the master"
        yield Health(Level.BAD, words)
    for replica in node.replicas:
        if not replica.online:
            words = f"its replica {replica.address:.80} is not in step yet"
            yield Health(Level.WARN, words)
        elif replica.lag is not None and replica.lag > LAGGING:
            words = (
                f"its replica {replica.address:.80} has not answered for {duration(replica.lag)}: "
                "if it took over now, that much would be lost"
            )
            yield Health(Level.WARN, words)


def _speed(node: NodeReport) -> Iterable[Health]:
    if node.answered_in is not None and node.answered_in > SLOW:
        words = (
            f"took {duration(node.answered_in)} to answer: look at SLOWLOG GET, and at the network"
        )
        yield Health(Level.WARN, words)


def _clock(node: NodeReport, now: datetime) -> Iterable[Health]:
    told = node.raw.get("server_time_usec", "")
    if not told.isdecimal() or len(told) > _DIGITS:
        return
    ahead = from_unix_ms(int(told) // 1000) - now
    if abs(ahead) > APART:
        side = "ahead of" if ahead > timedelta(0) else "behind"
        words = (
            f"has a clock {duration(abs(ahead))} {side} that of this machine: tasks and ticks are "
            "due by the broker's clock; look at NTP on both"
        )
        yield Health(Level.WARN, words)
