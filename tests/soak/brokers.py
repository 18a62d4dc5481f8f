"""The broker of a soak in each of its shapes: one server, behind Sentinel, or a Cluster.

Each shape has faults of its own. Where replicas take over, what the old master accepted in its
last moment may be gone; such periods are noted, and the judge asks nothing of what fell into one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis import exceptions

from duly import RedisSettings
from duly.testing.cluster import RedisCluster
from duly.testing.servers import BrokerServer
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import wait_until

LAG = 1.0
"""Seconds of writes that a replica may not have received yet when it takes over."""
SETTLED_SECONDS = 60.0
EVERYWHERE = {"forget the scripts": 1, "drop every connection": 1}


class Broker:
    """What the shapes share."""

    faults: Mapping[str, int] = EVERYWHERE
    """Fault → how often, in proportion."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, float]] = []
        """From when to when what was accepted may be gone, in seconds since 1970."""

    def settings(self) -> RedisSettings:
        """Return how to reach it."""
        raise NotImplementedError

    def masters(self) -> list[BrokerServer]:
        """Return the servers that accept writes."""
        raise NotImplementedError

    async def carry_out(self, name: str, which: int, lasts: float) -> None:
        """Do one of its faults, and undo it after its time."""
        if name in EVERYWHERE:
            words = {
                "forget the scripts": ("SCRIPT", "FLUSH"),
                "drop every connection": ("CLIENT", "KILL", "TYPE", "normal"),
            }[name]
            await asyncio.to_thread(self._tell_all, words)
        else:
            await self._hit(name, which, lasts)

    def _tell_all(self, words: tuple[str, ...]) -> None:
        with suppress(exceptions.RedisError, LookupError):
            for server in self.masters():
                with suppress(exceptions.RedisError), server.client(admin=True) as client:
                    client.execute_command(*words)

    async def _hit(self, name: str, which: int, lasts: float, /) -> None:
        raise NotImplementedError


class Single(Broker):
    """One server that syncs every write: nothing is lost when it is killed."""

    faults: Mapping[str, int] = {
        "freeze the broker": 2,
        "kill the broker": 2,
        "restart the broker": 1,
        **EVERYWHERE,
    }

    def __init__(self, server: BrokerServer) -> None:
        super().__init__()
        self._server = server

    def settings(self) -> RedisSettings:
        return self._server.settings()

    def masters(self) -> list[BrokerServer]:
        return [self._server]

    async def _hit(self, name: str, _: int, lasts: float) -> None:
        server = self._server
        match name:
            case "freeze the broker":
                server.pause()
                await asyncio.sleep(lasts)
                server.resume()
            case "kill the broker":
                await asyncio.to_thread(server.kill9)
                await asyncio.sleep(lasts)
                await asyncio.to_thread(server.start)
            case "restart the broker":
                await asyncio.to_thread(server.restart)


class _Replicated(Broker):
    """Servers of which another one takes over when a master is lost, or when it is told to."""

    faults: Mapping[str, int] = {
        "fail over as planned": 3,
        "kill a master": 3,
        "freeze a master": 2,
        **EVERYWHERE,
    }

    async def _hit(self, name: str, which: int, lasts: float) -> None:
        masters = await asyncio.to_thread(self.masters)
        master = masters[which % len(masters)]
        begin = time.time() - LAG
        match name:
            case "fail over as planned":
                await asyncio.to_thread(self._fail_over, master)
            case "kill a master":
                await asyncio.to_thread(master.kill9)
                # A master that returned empty before another took over would empty its replicas.
                await self._until(lambda: self._left(master), "another server takes over")
                await asyncio.to_thread(master.start)
            case "freeze a master":
                master.pause()
                await asyncio.sleep(lasts)
                master.resume()
        await self._until(self.whole, "every replica follows its master again")
        self.losses.append((begin, time.time() + LAG))

    def whole(self) -> bool:
        """Tell whether every server has its place, and every replica what its master has."""
        raise NotImplementedError

    def _fail_over(self, master: BrokerServer, /) -> None:
        raise NotImplementedError

    def _left(self, master: BrokerServer) -> bool:
        return bool(self.masters()) and master not in self.masters()

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            try:
                return condition()
            except (LookupError, exceptions.RedisError):
                return False

        await asyncio.to_thread(wait_until, holds, timeout=SETTLED_SECONDS, what=what)


class BehindSentinel(_Replicated):
    """A master, two replicas and three sentinels."""

    def __init__(self, servers: SentinelCluster) -> None:
        super().__init__()
        self._all = servers

    def settings(self) -> RedisSettings:
        return self._all.settings()

    def masters(self) -> list[BrokerServer]:
        return [self._all.master()]

    def whole(self) -> bool:
        return self._all.followed()

    def _fail_over(self, _: BrokerServer) -> None:
        self._all.hand_over()


class Clustered(_Replicated):
    """Three masters, each with a replica."""

    def __init__(self, cluster: RedisCluster) -> None:
        super().__init__()
        self._cluster = cluster

    def settings(self) -> RedisSettings:
        return self._cluster.settings()

    def masters(self) -> list[BrokerServer]:
        for server in self._servers:
            with suppress(exceptions.RedisError), server.client(timeout_seconds=1) as client:
                rows = client.execute_command("CLUSTER SLOTS")
                ports = {int(row[2][1]) for row in rows}
                return [each for each in self._servers if each.port in ports]
        return []

    @property
    def _servers(self) -> list[BrokerServer]:
        return [*self._cluster.servers, *self._cluster.replicas]

    def whole(self) -> bool:
        masters = self.masters()
        ports = {server.port for server in masters}
        followed = set()
        for server in self._servers:
            if server not in masters:
                role, _, port, state = _role(server)[:4]
                if (role, state) != ("slave", "connected") or port not in ports:
                    return False
                followed.add(port)
        return followed == ports and all(_role(server)[0] == "master" for server in masters)

    def _fail_over(self, master: BrokerServer) -> None:
        replica = next(
            server
            for server in self._servers
            if _role(server)[0] == "slave" and _role(server)[2] == master.port
        )

        def asked() -> bool:
            with replica.client() as client, suppress(exceptions.RedisError):
                client.execute_command("CLUSTER FAILOVER")
            return self._left(master)

        wait_until(asked, timeout=SETTLED_SECONDS, what="the replica takes over")


def _role(server: BrokerServer) -> list:
    with server.client(timeout_seconds=1) as client:
        return client.execute_command("ROLE")


SHAPES = ("single", "sentinel", "cluster")


@asynccontextmanager
async def started(shape: str, folder: Path) -> AsyncIterator[Broker]:
    """Start a broker of this shape."""
    if shape == "single":
        always = ("--appendfsync", "always")
        with BrokerServer.valkey(folder, durable=True, arguments=always) as server:
            yield Single(server)
    elif shape == "sentinel":
        with SentinelCluster.create(folder, replicas=2) as servers:
            yield BehindSentinel(servers)
    else:
        with RedisCluster.create(folder, replicas=1) as cluster:
            yield Clustered(cluster)
