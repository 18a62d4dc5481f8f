"""A Cluster: masters that share the slots, optionally with replicas."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from redis import Redis
from redis.crc import key_slot

from duly.runtime.settings import RedisSettings
from duly.testing.processes import free_port_with_bus
from duly.testing.servers import ANSWER_TIMEOUT, HOST, BrokerServer, valkey_program
from duly.testing.waiting import wait_until

SLOTS = 16_384
READY_SECONDS = 120.0
NODE_TIMEOUT_MS = 2_000


@dataclass(kw_only=True, eq=False)
class RedisCluster:
    """Masters that share the 16,384 slots, and their replicas."""

    servers: list[BrokerServer] = field(default_factory=list)
    """The masters, as of the start."""
    replicas: list[BrokerServer] = field(default_factory=list)
    """Each follows the master at its own place modulo their number."""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        masters: int = 3,
        replicas: int = 0,
        durable: bool = False,
        node_timeout_ms: int = NODE_TIMEOUT_MS,
        program: Path | None = None,
        host: str = HOST,
    ) -> Self:
        """Return one that is not started yet; its servers are Valkey by default.

        Args:
            folder: For data and logs.
            masters: The number of masters.
            replicas: The number of replicas of each master.
            durable: Log every write to a file, so that a restart keeps the data.
            node_timeout_ms: How long a node may be silent before it counts as down.
            program: The server program.
            host: The address at which all listen.
        """
        options = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms),
            "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        nodes = [
            BrokerServer(
                program=program or valkey_program(),
                folder=folder / f"node-{number}",
                durable=durable,
                arguments=options,
                host=host,
                port=free_port_with_bus(),
            )
            for number in range(masters * (1 + replicas))
        ]
        return cls(servers=nodes[:masters], replicas=nodes[masters:])

    def settings(self) -> RedisSettings:
        """Return what a service needs to find every node."""
        first = self.servers[0]
        return RedisSettings(host=first.host, port=first.port, cluster=True, timeout=ANSWER_TIMEOUT)

    def start(self) -> Self:
        """Start all, assign the slots, and return when every node sees a complete cluster."""
        for server in self._nodes():
            server.start()
        share = -(-SLOTS // len(self.servers))
        for number, server in enumerate(self.servers):
            first, last = number * share, min(SLOTS, (number + 1) * share) - 1
            with server.client() as client:
                # ADDSLOTSRANGE (7.0) is newer than the oldest supported server (6.2).
                client.execute_command("CLUSTER ADDSLOTS", *range(first, last + 1))
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        with self.servers[0].client() as client:
            for other in self._nodes()[1:]:
                client.execute_command("CLUSTER MEET", other.host, other.port)
        wait_until(self._whole, timeout=READY_SECONDS, what="the cluster is whole")
        self._follow()
        return self

    def owner(self, key: str) -> BrokerServer:
        """Return the master that currently serves a key."""
        slot = key_slot(key.encode())
        with self.servers[0].client() as client:
            ranges = client.execute_command("CLUSTER SLOTS")
        port = next(int(row[2][1]) for row in ranges if row[0] <= slot <= row[1])
        return next(server for server in self._nodes() if server.port == port)

    def move_slot(self, key: str) -> BrokerServer:
        """Move the slot of a key, with all its keys, to the next master; return that master."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target = self.servers[(self.servers.index(source) + 1) % len(self.servers)]
        with source.client() as old, target.client() as new:
            names = [client.execute_command("CLUSTER MYID") for client in (old, new)]
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                place = target.host, target.port
                old.execute_command("MIGRATE", *place, "", 0, 5_000, "KEYS", *keys)
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
        return target

    def flush(self) -> None:
        """Delete every key."""
        for server in self.servers:
            server.flush()

    def kill9(self) -> None:
        """Kill all."""
        for server in self._nodes():
            server.kill9()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill9()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill9()

    def _nodes(self) -> list[BrokerServer]:
        return [*self.servers, *self.replicas]

    def _whole(self) -> bool:
        return all(self._sees_all(server) for server in self._nodes())

    def _sees_all(self, server: BrokerServer) -> bool:
        with server.client() as client:
            info = cluster_info(client)
        return (
            info["cluster_state"] == "ok"
            and int(info["cluster_known_nodes"]) == len(self._nodes())
            and int(info["cluster_slots_ok"]) == SLOTS
        )

    def _follow(self) -> None:
        """Make the replicas follow, and wait until they are in sync."""
        for number, replica in enumerate(self.replicas):
            with self.servers[number % len(self.servers)].client() as client:
                name = client.execute_command("CLUSTER MYID")
            with replica.client() as client:
                client.execute_command("CLUSTER REPLICATE", name)
        wait_until(
            lambda: all(_follows(replica) for replica in self.replicas),
            timeout=READY_SECONDS,
            what="every replica follows",
        )


def _follows(replica: BrokerServer) -> bool:
    with replica.client() as client:
        found = client.info("replication")
    return bool(found["role"] == "slave" and found["master_link_status"] == "up")


def cluster_info(client: Redis) -> dict[str, str]:
    """Return the CLUSTER INFO of a node."""
    answer = client.cluster("INFO")
    return {str(name): str(value) for name, value in answer.items()}
