"""What runs in a data directory: one `duly up` at a time, and where to find it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from duly.errors import DulyError
from duly.runtime.settings import Settings

DATA_DIR: Final = Path(".duly")
"""The default data directory of `duly up`."""
_HARMLESS_REDIS_KEYS: Final = frozenset({"timeout", "allow_eviction"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a `duly up` publishes about itself. No secrets: anybody may read the file."""

    pid: int
    monitor: str = ""
    """The address of its page; empty without a monitor."""
    redis_url: str = ""
    """The address of the embedded Valkey; empty with another server."""
    database: str = ""
    """The file of the embedded database; empty with another server."""
    processes: dict[str, str] = field(default_factory=dict)
    """Name → address of every process it started."""


class AlreadyRunningError(DulyError):
    """Another `duly up` holds the data directory."""

    def __init__(self, running: Running | None) -> None:
        self.running = running
        facts = [f"pid {running.pid}"] if running else []
        if running and running.monitor:
            facts.append(f"monitor {running.monitor}")
        detail = f" ({', '.join(facts)})" if facts else ""
        super().__init__(f"duly up is already running here{detail}")


@contextmanager
def sole_runner(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for the body; the kernel releases it however this process ends.

    Raises:
        AlreadyRunningError: Another process holds it.
        DulyError: The directory cannot be created or written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DulyError(
            f"the data directory {data_dir} cannot be used: {error.strerror} "
            "(choose another with --data-dir)"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(_read(data_dir)) from None
        _path(data_dir).unlink(missing_ok=True)
        try:
            yield
        finally:
            _path(data_dir).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def announce(data_dir: Path, running: Running) -> None:
    """Publish what runs, for a second `duly up` and for the other commands."""
    incomplete = data_dir / "run.json.new"
    incomplete.write_text(json.dumps(asdict(running), indent=2) + "\n")
    incomplete.replace(_path(data_dir))


def find(data_dir: Path = DATA_DIR) -> Running | None:
    """Return what runs in the directory, or None.

    The lock decides: a killed `duly up` leaves the file behind.
    """
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(data_dir)
    finally:
        os.close(descriptor)
    return None


def embeds_broker(settings: Settings) -> bool:
    """Return whether no Redis or Valkey is configured, so that the embedded one is used."""
    return not settings.redis.model_fields_set - _HARMLESS_REDIS_KEYS


def find_broker(settings: Settings) -> Running | None:
    """Return the `duly up` of the current directory, if it has a broker and none is configured."""
    local = find() if embeds_broker(settings) else None
    return local if local is not None and local.redis_url else None


def _path(data_dir: Path) -> Path:
    return data_dir / "run.json"


def _read(data_dir: Path) -> Running | None:
    try:
        return Running(**json.loads(_path(data_dir).read_text()))
    except (OSError, ValueError, TypeError):
        return None
