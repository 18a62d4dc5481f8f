"""The broker itself: which nodes it has, how full they are, and which queue is on which."""

from collections.abc import Iterable, Mapping

from redis.crc import key_slot

from duly.engine.cluster import ClusterLink
from duly.engine.connection import broker_errors
from duly.engine.keys import queue_keys
from duly.engine.reports import BrokerReport
from duly.engine.store import Store
from duly.errors import BrokerDownError, BrokerError


class Nodes:
    """The nodes that hold queues: one, or the masters of a Cluster."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection

    async def reports(self, queues: Iterable[str]) -> list[BrokerReport]:
        """Report every node, with those of the queues that are on it: one INFO a node."""
        names, cluster = list(queues), self._connection.cluster
        if cluster is None:
            return [_report(self._connection.address, await self._info(), names, {})]
        found = []
        with broker_errors(self._connection.address):
            masters = await cluster.masters()
        for node in masters:
            slots = {
                name: key_slot(queue_keys(name).stream.encode())
                for name in names
                if await cluster.node_of(queue_keys(name).stream) == node
            }
            info = await self._info(cluster, node)
            found.append(_report(f"{node[0]}:{node[1]}", info, list(slots), slots))
        return found

    async def _info(
        self, cluster: ClusterLink | None = None, node: tuple[str, int] = ("", 0)
    ) -> dict[str, str]:
        """Return what a node says of itself; nothing where the broker's user may not ask."""
        try:
            if cluster is None:
                answer = await self._connection.command("INFO")
            else:
                with broker_errors(self._connection.address):
                    answer = await cluster.at_node(node, "INFO")
        except BrokerDownError:
            raise
        except BrokerError:
            return {}
        lines = answer.decode(errors="replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def _report(
    address: str, info: Mapping[str, str], queues: list[str], slots: dict[str, int]
) -> BrokerReport:
    software = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return BrokerReport(
        address=address,
        version=f"{software} {version}" if version else "",
        memory_bytes=_number(info, "used_memory"),
        memory_limit_bytes=_number(info, "maxmemory") or None,
        clients=_number(info, "connected_clients"),
        queues=tuple(queues),
        slots=slots,
    )


def _number(info: Mapping[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if text.isdigit() else None
