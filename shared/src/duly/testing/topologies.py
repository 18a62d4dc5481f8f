"""A master, its replicas, and the sentinels that watch it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redis import exceptions
from typing_extensions import override

from duly.runtime.settings import RedisSettings, SentinelSettings
from duly.testing.servers import ANSWER_TIMEOUT, HOST, BrokerServer, valkey_program
from duly.testing.waiting import NotInTimeError, wait_until

MASTER = "duly"
READY_SECONDS = 120.0
GIVEN_UP_SECONDS = 15.0
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
    """How long a master may be silent before it counts as down."""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        replicas: int = 1,
        durable: bool = False,
        program: Path | None = None,
        down_after_ms: int = DOWN_AFTER_MS,
    ) -> Self:
        """Return one that is not started yet; its servers are Valkey by default."""
        chosen = program or valkey_program()
        # It is the master that waits for more replicas before it sends what it has.
        at_once = ("--repl-diskless-sync-delay", "0")
        master = BrokerServer(
            program=chosen, folder=folder / "server-0", durable=durable, arguments=at_once
        )
        follow = ("--replicaof", HOST, str(master.port), *at_once)
        servers = [master] + [
            BrokerServer(
                program=chosen,
                folder=folder / f"server-{number}",
                durable=durable,
                arguments=follow,
            )
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
        """Return the current master, as the sentinels see it.

        Raises:
            LookupError: No sentinel answers, or the master is none of these servers.
        """
        for sentinel in self.sentinels:
            with contextlib.suppress(exceptions.RedisError), sentinel.client() as client:
                answer = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
                for server in self.servers:
                    if answer and server.port == int(answer[1]):
                        return server
        raise LookupError("no sentinel knows one of these servers as the master")

    def start(self) -> Self:
        """Start all; return when every sentinel knows the others and the replicas follow."""
        for server in self.servers:
            server.start()
        for sentinel in self.sentinels:
            sentinel.folder.mkdir(parents=True, exist_ok=True)
            _write_sentinel(sentinel, self.servers[0].port, self.down_after_ms)
            sentinel.start()
            _shorten_periods(sentinel)
        wait_until(self._settled, timeout=READY_SECONDS, what="the sentinels agree")
        wait_until(self.followed, timeout=READY_SECONDS, what="the replicas have what it has")
        return self

    def fail_over(self) -> BrokerServer:
        """Kill the master, and return the server that replaced it."""
        killed = self.master()
        killed.kill9()
        wait_until(
            lambda: self._promoted(killed), timeout=READY_SECONDS, what="a replica is promoted"
        )
        return self.master()

    def hand_over(self) -> BrokerServer:
        """Have the sentinels make a replica the master, as planned; return that server."""
        old = self.master()
        while self.master() is old:
            wait_until(self._asked, timeout=READY_SECONDS, what="the sentinels begin")
            # On a machine under load the sentinels may give a failover up: then ask again.
            with contextlib.suppress(NotInTimeError):
                wait_until(lambda: self.master() is not old, timeout=GIVEN_UP_SECONDS)
        return self.master()

    def followed(self) -> bool:
        """Tell whether every other server follows the master, and has what it has."""
        try:
            master = self.master()
            place = ["slave", HOST, master.port, "connected"]
            for server in self.servers:
                with server.client() as client:
                    role = client.execute_command("ROLE")
                if server is not master and role[:4] != place:
                    return False
            with master.client() as client:
                others = len(self.servers) - 1
                return bool(client.wait(others, 1_000) == others)
        except (LookupError, exceptions.RedisError):  # it closes connections when it begins
            return False

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

    def _asked(self) -> bool:
        try:
            with self.sentinels[0].client() as client:
                return bool(client.execute_command("SENTINEL FAILOVER", MASTER))
        except exceptions.RedisError:  # the last one is too recent, or no replica is good
            return False

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


def _shorten_periods(sentinel: BrokerServer) -> None:
    """Make a sentinel check every 0.2 s instead of every 1 to 10 s.

    A sentinel that was stalled for two seconds takes that for a jump of the clock and does nothing
    for the next thirty. On a machine that stalls often it would never fail over.

    What they publish takes longer: after four of these periods the other sentinels make a promoted
    replica follow its old master again, and the one that promoted it looks once a second only.
    """
    periods = ("INFO-PERIOD", "ASK-PERIOD", "PING-PERIOD")
    tilt = {"TILT-TRIGGER": STALL_MS, "TILT-PERIOD": 1_000}
    values = {**dict.fromkeys(periods, 200), "PUBLISH-PERIOD": 750, **tilt}
    with sentinel.client() as client, contextlib.suppress(exceptions.ResponseError):
        client.execute_command(
            "SENTINEL DEBUG", *(word for pair in values.items() for word in pair)
        )
