"""A real PostgreSQL server for tests: started on a free port, and always stopped afterwards."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from duly.testing.environment import in_ci, inherited
from duly.testing.processes import free_port, spawn
from duly.testing.waiting import wait_until

HOST = "127.0.0.1"
USER = "duly"
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
DEBIAN = Path("/usr/lib/postgresql")
SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
"""The database of a test need not survive the machine."""


class PostgresMissingError(Exception):
    """This machine has no PostgreSQL server."""


def postgres_programs() -> Path:
    """Return the folder of `initdb` and `postgres`: Debian's newest version, else from the PATH.

    Raises:
        PostgresMissingError: There is none.
    """
    versions = (path for path in DEBIAN.glob("*/bin") if (path / "initdb").exists())
    newest = max(versions, key=lambda path: float(path.parent.name), default=None)
    if newest is not None:
        return newest
    found = shutil.which("initdb")
    if found is None:
        raise PostgresMissingError("no PostgreSQL server: install Debian's postgresql")
    return Path(found).resolve().parent


@dataclass(kw_only=True, eq=False)
class PostgresServer:
    """One PostgreSQL cluster in `folder`, with the superuser `duly` and no passwords."""

    folder: Path
    programs: Path = field(default_factory=postgres_programs)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> Self:
        """Create the cluster and start it."""
        if os.geteuid() == 0:
            account = _account()
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Start the server on its port and its data; return once it answers."""
        settings = (f"port={self.port}", f"listen_addresses={HOST}", "max_connections=60", *SPEED)
        options = [word for setting in settings for word in ("-c", setting)]
        self.process = spawn(
            [*_as_nobody(), self.programs / "postgres", "-D", self._data, "-k", "", *options],
            log=self.folder / "server.log",
            folder=self.folder,
            environment=self._environment,
        )
        wait_until(self._answers, timeout=READY_SECONDS, what="PostgreSQL is ready")

    def stop(self) -> None:
        """Stop the server and every session; the data is kept."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)  # Its "fast" shutdown.
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy address of a database."""
        return f"postgresql+psycopg://{USER}@{HOST}:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database; return its address."""
        name = f"test_{next(self._numbers)}"
        self._run("createdb", *self._there, name)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database of `create_database`, even while clients are connected to it."""
        self._run("dropdb", *self._there, "--force", url.rpartition("/")[2])

    @property
    def _there(self) -> tuple[str, ...]:
        return ("-h", HOST, "-p", str(self.port), "-U", USER)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in inherited().items() if not name.startswith("PG")}
        return ours | {"LC_ALL": "C.UTF-8"}

    def _answers(self) -> bool:
        process = self.process
        if process is None or process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {(self.folder / 'server.log').read_text()}")
        return self._call("pg_isready", *self._there).returncode == 0

    def _run(self, program: str, *words: str | Path) -> None:
        done = self._call(program, *words)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")

    def _call(self, program: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - the tests' own commands, no shell
            [*_as_nobody(), self.programs / program, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._environment,
        )


def _account() -> pwd.struct_passwd:
    """Return the account that runs the server if this process is root, which it refuses."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissingError("PostgreSQL does not run as root, and there is no user nobody")


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    account = _account()
    # A change of user clears the death signal, so it is set once more.
    return [
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        "--pdeathsig=INT",
    ]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process."""
    # Not in pytest's own folder: only root could enter it.
    with tempfile.TemporaryDirectory(prefix="duly-postgres-") as folder:
        try:
            server = PostgresServer(folder=Path(folder))
        except PostgresMissingError as error:
            if in_ci():
                pytest.fail(f"CI must have every server: {error}")
            pytest.skip(str(error))
        with server:
            yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty PostgreSQL database of this test alone."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of a SQLite database of this test alone; there is no file yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'orders.db'}"


@pytest.fixture(params=("sqlite", "postgres"))
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database; the test runs once for each of SQLite and PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
