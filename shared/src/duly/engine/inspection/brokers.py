"""The broker itself: which nodes it has, how full they are, and which queue is on which."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.node_info import NodeReport, node_report, number
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
        return [node.broker for node in await self.nodes(queues)]

    async def nodes(self, queues: Sequence[str] | None = None) -> Sequence[NodeReport]:
        """Report all that every node says of itself: one INFO a node.

        Args:
            queues: The names of all queues; None: they are asked for.
        """
        names = await self._known.names() if queues is None else queues
        cluster = self._connection.cluster
        if cluster is None:
            info, took = await self._info()
            return [node_report(_report(self._connection.address, info, names, {}), info, took)]
        found = []
        streams = {name: queue_keys(name).stream for name in names}
        with broker_errors(self._connection.address):
            masters = await cluster.masters()
            homes = {name: await cluster.node_of(stream) for name, stream in streams.items()}
        for node in masters:
            slots = {name: slot_of(streams[name]) for name in names if homes[name] == node}
            info, took = await self._info(cluster, node)
            report = _report(f"{node[0]}:{node[1]}", info, [*slots], slots)
            found.append(node_report(report, info, took))
        return found

    async def _info(
        self, cluster: ClusterLink | None = None, node: tuple[str, int] = ("", 0)
    ) -> tuple[dict[str, str], timedelta]:
        """Return what a node says of itself, and how long it took to say it.

        Nothing where it does not answer or refuses to.
        """
        began = time.perf_counter()
        try:
            if cluster is None:
                answer = await self._connection.command("INFO")
            else:
                with broker_errors(self._connection.address):
                    answer = await cluster.at_node(node, "INFO")
        except BrokerDownError:
            if cluster is None:
                raise
            answer = None  # one shard that does not answer hides no other
        except BrokerError:
            answer = None
        return info_of(answer), timedelta(seconds=time.perf_counter() - began)


def _report(
    address: str, info: Mapping[str, str], queues: Sequence[str], slots: dict[str, int]
) -> BrokerReport:
    software = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return BrokerReport(
        address=address,
        version=f"{software} {version}" if version else "",
        memory_bytes=number(info, "used_memory"),
        memory_limit_bytes=number(info, "maxmemory") or None,
        clients=number(info, "connected_clients"),
        queues=tuple(queues),
        slots=slots,
    )
