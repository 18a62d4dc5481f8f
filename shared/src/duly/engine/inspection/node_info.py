"""What INFO of Redis and Valkey says of a node, for an operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from duly.clock import LAST_MS, from_unix_ms
from duly.engine.storage.reports import BrokerReport

_MOST_REPLICAS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """A replica, as its master sees it."""

    address: str
    online: bool
    lag: timedelta | None
    """Since it acknowledged anything, in whole seconds; None: not known."""
    behind_bytes: int | None
    """Of the replication stream that it has not acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node at one instant; None and "": it does not say, or its user may not ask."""

    broker: BrokerReport
    answered_in: timedelta | None = None
    """Round trip of INFO, the work of the node included; None: it did not answer."""
    role: str = ""
    """`master` or `slave`, in the words of the node."""
    uptime: timedelta | None = None
    memory_peak_bytes: int | None = None
    memory_resident_bytes: int | None = None
    fragmentation: float | None = None
    """Resident by used memory."""
    eviction: str = ""
    """Policy: what is done once the memory is full."""
    evicted: int | None = None
    """Keys, since it started."""
    clients_limit: int | None = None
    clients_blocked: int | None = None
    clients_rejected: int | None = None
    """Connections, since it started."""
    commands_per_second: int | None = None
    loading: bool = False
    """It reads its data from the disk, and answers nothing meanwhile."""
    aof: bool | None = None
    """Whether each write is logged to the disk."""
    aof_failed: bool = False
    saved_at: datetime | None = None
    """The last snapshot; the start of the node, where there was none."""
    save_failed: bool = False
    changes: int | None = None
    """Writes since the last snapshot."""
    replicas: tuple[ReplicaReport, ...] = ()
    master_link_up: bool | None = None
    """Of a replica: whether it is connected to its master."""
    raw: Mapping[str, str]
    """Everything that the node says, by name."""


def node_report(
    broker: BrokerReport, info: Mapping[str, str], answered_in: timedelta | None
) -> NodeReport:
    """Return what a node says, as a report; foreign values are left out."""
    uptime, saved = number(info, "uptime_in_seconds"), number(info, "rdb_last_save_time")
    return NodeReport(
        broker=broker,
        answered_in=answered_in if info else None,
        role=info.get("role", ""),
        uptime=None if uptime is None else timedelta(seconds=min(uptime, LAST_MS // 1000)),
        memory_peak_bytes=number(info, "used_memory_peak"),
        memory_resident_bytes=number(info, "used_memory_rss"),
        fragmentation=_ratio(info, "mem_fragmentation_ratio"),
        eviction=info.get("maxmemory_policy", ""),
        evicted=number(info, "evicted_keys"),
        clients_limit=number(info, "maxclients"),
        clients_blocked=number(info, "blocked_clients"),
        clients_rejected=number(info, "rejected_connections"),
        commands_per_second=number(info, "instantaneous_ops_per_sec"),
        loading=info.get("loading") == "1",
        aof={"0": False, "1": True}.get(info.get("aof_enabled", "")),
        aof_failed="err"
        in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")),
        saved_at=from_unix_ms(saved * 1000) if saved and saved * 1000 <= LAST_MS else None,
        save_failed=info.get("rdb_last_bgsave_status") == "err",
        changes=number(info, "rdb_changes_since_last_save"),
        replicas=_replicas(info),
        master_link_up={"up": True, "down": False}.get(info.get("master_link_status", "")),
        raw=info,
    )


def number(info: Mapping[str, str], name: str) -> int | None:
    """Return a whole number of a node; None, where it says none."""
    text = info.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - of 64 bits


def _ratio(info: Mapping[str, str], name: str) -> float | None:
    try:
        return float(info.get(name, ""))
    except ValueError:
        return None


def _replicas(info: Mapping[str, str]) -> tuple[ReplicaReport, ...]:
    reached = number(info, "master_repl_offset")
    count = min(number(info, "connected_slaves") or 0, _MOST_REPLICAS)
    lines = [info.get(f"slave{index}", "") for index in range(count)]
    return tuple(_replica(line.split(","), reached) for line in lines if line)


def _replica(words: Sequence[str], reached: int | None) -> ReplicaReport:
    """Read `ip=10.0.0.7,port=6379,state=online,offset=42,lag=0`."""
    said = dict(word.split("=", 1) for word in words if "=" in word)
    lag, offset = number(said, "lag"), number(said, "offset")
    return ReplicaReport(
        address=f"{said.get('ip', '')}:{said.get('port', '')}",
        online=said.get("state") == "online",
        lag=None if lag is None else timedelta(seconds=min(lag, LAST_MS // 1000)),
        behind_bytes=None if None in (reached, offset) else max(0, (reached or 0) - (offset or 0)),
    )
