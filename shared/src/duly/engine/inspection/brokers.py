"""The broker itself: which nodes it has, how full they are, and which queue is on which."""

from collections.abc import Mapping, Sequence

from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import BrokerReport
from duly.engine.transport.cluster import ClusterLink
from duly.engine.transport.connection import broker_errors, info_of
from duly.engine.transport.slot_map import slot_of
from duly.errors import BrokerDownError, BrokerError


class Brokers:
    """The nodes that hold queues: one, or the masters of a Cluster."""

    def __init__(self, known: KnownQueues) -> None:
        self._known, self._connection = known, known.store.connection

    async def list(self, queues: Sequence[str] | None = None) -> Sequence[BrokerReport]:
        """Report every node, with the queues that are on it: one INFO a node.

        Args:
            queues: The names of all queues; None: they are asked for.
        """
        names = await self._known.names() if queues is None else queues
        cluster = self._connection.cluster
        if cluster is None:
            return [_report(self._connection.address, await self._info(), names, {})]
        found = []
        streams = {name: queue_keys(name).stream for name in names}
        with broker_errors(self._connection.address):
            masters = await cluster.masters()
            homes = {name: await cluster.node_of(stream) for name, stream in streams.items()}
        for node in masters:
            slots = {name: slot_of(streams[name]) for name in names if homes[name] == node}
            info = await self._info(cluster, node)
            found.append(_report(f"{node[0]}:{node[1]}", info, [*slots], slots))
        return found

    async def _info(
        self, cluster: ClusterLink | None = None, node: tuple[str, int] = ("", 0)
    ) -> dict[str, str]:
        """Return what a node says of itself; nothing where it does not answer or refuses to."""
        try:
            if cluster is None:
                answer = await self._connection.command("INFO")
            else:
                with broker_errors(self._connection.address):
                    answer = await cluster.at_node(node, "INFO")
        except BrokerDownError:
            if cluster is None:
                raise
            return {}  # one shard that does not answer hides no other
        except BrokerError:
            return {}
        return info_of(answer)


def _report(
    address: str, info: Mapping[str, str], queues: Sequence[str], slots: dict[str, int]
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
