"""The embedded Valkey: a real server from a wheel, whose data is kept between runs."""

import asyncio
import signal
from pathlib import Path
from typing import Final

from duly.errors import BrokerDownError, ConfigError
from duly.local.processes import Command
from duly.runtime.embedded import ALLOCATOR, NoEmbeddedServerError, server_program

HOST: Final = "127.0.0.1"
_PING: Final = b"*1\r\n$4\r\nPING\r\n"
_LOG_TAIL_LINES: Final = 3


def address(port: int) -> str:
    """Return the address of the embedded Valkey."""
    return f"redis://{HOST}:{port}/0"


def binary() -> Path:
    """Return the server's program.

    Raises:
        ConfigError: There is none for this machine; another Redis or Valkey is needed.
    """
    try:
        return server_program()
    except NoEmbeddedServerError as error:
        raise ConfigError(
            "redis.url",
            f"not set, and there is no embedded Valkey: {error}",
            remedy="name a Redis or Valkey: duly up --redis-url redis://…",
        ) from None


def command(program: Path, *, port: int, data_dir: Path, stage: int) -> Command:
    """Return the command that runs Valkey on loopback with its data in `data_dir`/valkey.

    If the machine fails, at most the last second is lost; if only Valkey fails, nothing. Nothing is
    ever evicted.
    """
    home = data_dir / "valkey"
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": str(port),
        "bind": HOST,
        "protected-mode": "yes",
        "dir": str(home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
    }
    arguments = [word for key, value in settings.items() for word in (f"--{key}", value)]
    return Command(
        name="valkey",
        argv=(str(program), *arguments),
        environment=dict(ALLOCATOR),
        log_file=log_path(data_dir),
        stage=stage,
        stop_seconds=2.0,
        # It saves on SIGTERM. Its clients have stopped already.
        orphan_signal=signal.SIGTERM,
    )


def log_path(data_dir: Path) -> Path:
    """Return the log file of Valkey."""
    return data_dir / "valkey.log"


async def until_ready(port: int, data_dir: Path, *, timeout_seconds: float = 20) -> None:
    """Return when the server answers and has loaded its data.

    Raises:
        BrokerDownError: It did not within `timeout_seconds`; the end of its log says why.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            while not await _answers(port):  # noqa: ASYNC110 - no event says when it listens
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise BrokerDownError(address(port), _log_tail(data_dir)) from None


async def _answers(port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(_PING)
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _log_tail(data_dir: Path) -> str:
    try:
        lines = log_path(data_dir).read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "; ".join(lines[-_LOG_TAIL_LINES:]) or "its log is empty"
