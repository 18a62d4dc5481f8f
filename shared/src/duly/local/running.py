"""Who runs in a data directory: one `duly up` at a time, and where to find it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from duly.errors import DulyError

DATA_DIR: Final = Path(".duly")
"""Where `duly up` keeps its data unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a `duly up` tells others about itself. No secrets: the file is readable."""

    pid: int
    monitor: str = ""
    """Its page, empty when there is no monitor."""
    redis_url: str = ""
    """The embedded Valkey, empty when it works on another server."""
    database: str = ""
    """The embedded database's file, empty when it works on another server."""
    processes: dict[str, str] = field(default_factory=dict)
    """Name → address of everything it started."""


class AlreadyRunningError(DulyError):
    """Another `duly up` has the data directory."""

    def __init__(self, running: Running | None) -> None:
        self.running = running
        facts = [f"pid {running.pid}"] if running else []
        if running and running.monitor:
            facts.append(f"monitor {running.monitor}")
        detail = f" ({', '.join(facts)})" if facts else ""
        super().__init__(f"duly up is already running here{detail}")


@contextmanager
def sole_runner(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for the body; the kernel lets go of it however we end.

    Raises:
        AlreadyRunningError: Another process holds it.
        DulyError: The directory can not be made or written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DulyError(
            f"the data directory {data_dir} can not be used: {error.strerror} "
            "(choose another: --data-dir)"
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
    """Write down what runs, for the second `duly up` and for the other commands."""
    draft = data_dir / "run.json.new"
    draft.write_text(json.dumps(asdict(running), indent=2) + "\n")
    draft.replace(_path(data_dir))


def find(data_dir: Path = DATA_DIR) -> Running | None:
    """Return what runs in the directory, None when nothing does.

    The file alone proves nothing, as a killed `duly up` leaves it behind: the lock does.
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


def _path(data_dir: Path) -> Path:
    return data_dir / "run.json"


def _read(data_dir: Path) -> Running | None:
    try:
        return Running(**json.loads(_path(data_dir).read_text()))
    except (OSError, ValueError, TypeError):
        return None
