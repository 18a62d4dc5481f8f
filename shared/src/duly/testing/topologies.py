"""Several brokers that belong together: a master, its replicas, and sentinels that watch it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redis import exceptions
from typing_extensions import override

from duly.runtime.settings import RedisSettings, SentinelSettings
from duly.testing.servers import ANSWER_TIMEOUT, HOST, BrokerServer, valkey_program
from duly.testing.waiting import wait_until

MASTER = "duly"
READY_SECONDS = 120.0
STALL_MS = 600_000
DOWN_AFTER_MS = 500
"""How long a sentinel waits for an answer before it calls the master down."""


@dataclass(kw_only=True, eq=False)
class SentinelCluster:
    """A master, its replicas, and three sentinels that fail over within about two seconds."""

    servers: list[BrokerServer]
    """The master first, as of the start."""
    sentinels: list[BrokerServer]
    down_after_ms: int = DOWN_AFTER_MS
    """How long a master that does not answer counts as living."""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        replicas: int = 1,
        program: Path | None = None,
        down_after_ms: int = DOWN_AFTER_MS,
    ) -> Self:
        """Return one that is not started yet, of Valkey servers unless told otherwise."""
        chosen = program or valkey_program()
        master = BrokerServer(program=chosen, folder=folder / "server-0")
        follow = ("--replicaof", HOST, str(master.port), "--repl-diskless-sync-delay", "0")
        servers = [master] + [
            BrokerServer(program=chosen, folder=folder / f"server-{number}", arguments=follow)
            for number in range(1, replicas + 1)
        ]
        sentinels = [_Sentinel(program=chosen, folder=folder / f"sentinel-{n}") for n in range(3)]
        return cls(servers=servers, sentinels=list(sentinels), down_after_ms=down_after_ms)

    def settings(self) -> RedisSettings:
        """Return what a service needs to find the master."""
        nodes = tuple(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        sentinel = SentinelSettings(master=MASTER, nodes=nodes)
        return RedisSettings(sentinel=sentinel, timeout=ANSWER_TIMEOUT)

    def master(self) -> BrokerServer:
        """Return the server that the sentinels now call the master.

        Raises:
            LookupError: No sentinel answers, or they name a stranger.
        """
        for sentinel in self.sentinels:
            with contextlib.suppress(exceptions.RedisError), sentinel.client() as client:
                answer = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
                for server in self.servers:
                    if answer and server.port == int(answer[1]):
                        return server
        raise LookupError("no sentinel knows a master of ours")

    def start(self) -> Self:
        """Start all, and return when every sentinel knows the others and the replicas follow."""
        for server in self.servers:
            server.start()
        for sentinel in self.sentinels:
            sentinel.folder.mkdir(parents=True, exist_ok=True)
            _write_sentinel(sentinel, self.servers[0].port, self.down_after_ms)
            sentinel.start()
            _hurry(sentinel)
        wait_until(self._settled, timeout=READY_SECONDS, what="the sentinels agree")
        return self

    def fail_over(self) -> BrokerServer:
        """Kill the master, and return the server that took its place."""
        killed = self.master()
        killed.kill9()
        wait_until(
            lambda: self._promoted(killed), timeout=READY_SECONDS, what="a replica is promoted"
        )
        return self.master()

    def flush(self) -> None:
        """Delete every key."""
        self.master().flush()

    def kill9(self) -> None:
        """Kill all."""
        for server in (*self.sentinels, *self.servers):
            server.kill9()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill9()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill9()

    def _settled(self) -> bool:
        return all(self._knows_all(sentinel) for sentinel in self.sentinels)

    def _knows_all(self, sentinel: BrokerServer) -> bool:
        with sentinel.client() as client:
            row = client.execute_command("SENTINEL MASTER", MASTER)
        known = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
        return (
            int(known["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(known["num-slaves"]) == len(self.servers) - 1
            and known["flags"] == "master"
        )

    def _promoted(self, killed: BrokerServer) -> bool:
        try:
            master = self.master()
            if master is killed:
                return False
            with master.client() as client:
                return bool(client.execute_command("ROLE")[0] == "master")
        except (LookupError, exceptions.RedisError):
            return False


class _Sentinel(BrokerServer):
    """A server in Sentinel mode: it rewrites its own configuration file."""

    @override
    def _command(self) -> list[str]:
        return [str(self.program), str(self.folder / "sentinel.conf"), "--sentinel"]


def _write_sentinel(sentinel: BrokerServer, master_port: int, down_after_ms: int) -> None:
    lines = (
        f"port {sentinel.port}",
        f"bind {HOST}",
        f"dir {sentinel.folder}",
        f"sentinel monitor {MASTER} {HOST} {master_port} 2",
        f"sentinel down-after-milliseconds {MASTER} {down_after_ms}",
        f"sentinel failover-timeout {MASTER} 3000",
        f"sentinel parallel-syncs {MASTER} 1",
    )
    (sentinel.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")


def _hurry(sentinel: BrokerServer) -> None:
    """Make a sentinel look around every 0.2 s where it would every 2 to 10 s.

    One that stood still for two seconds would do nothing for the next thirty, for it takes that for
    a clock that jumped. On a machine that stalls again and again it would never fail over.
    """
    periods = ("INFO-PERIOD", "PUBLISH-PERIOD", "ASK-PERIOD", "PING-PERIOD")
    values = {**dict.fromkeys(periods, 200), "TILT-TRIGGER": STALL_MS, "TILT-PERIOD": 1_000}
    with sentinel.client() as client, contextlib.suppress(exceptions.ResponseError):
        client.execute_command(
            "SENTINEL DEBUG", *(word for pair in values.items() for word in pair)
        )
