"""Child processes that do not outlive the tests, and free ports for them."""

import errno
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from duly.testing.environment import worker_number

_LOWEST, _HIGHEST = 10_240, 22_239
"""Below the range from which kernels choose ports, as are the bus ports 10,000 above."""
_BUS = 10_000
_SHARES = 16
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port of the loopback interface on which nothing listens.

    It stays free while its server is down: no outgoing connection takes it, and no other call gets
    it, in this process or in another worker of pytest-xdist.
    """
    return _free_port()


def free_port_with_bus() -> int:
    """Return a free port whose cluster bus port (10,000 above) is free too."""
    return _free_port(_BUS)


def _free_port(*above: int) -> int:
    ports = list(range(_LOWEST + worker_number() % _SHARES, _HIGHEST + 1, _SHARES))
    random.shuffle(ports)
    for port in ports:
        wanted = {port, *(port + each for each in above)}
        if not wanted & _given and all(map(_is_free, wanted)):
            _given.update(wanted)
            return port
    if not _given:
        raise OSError(errno.EADDRINUSE, "no port is free")
    _given.clear()
    return _free_port(*above)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel kills a child when the *thread* that started it ends, and tests start children from
    # short-lived threads too. So one thread, which lives as long as pytest, starts them all.
    return ThreadPoolExecutor(1, "spawner")


def stay_here() -> None:
    """Let processes that are spawned later have the namespaces that this thread has now."""
    _spawner().submit(lambda: None).result()


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path | int,
    folder: Path,
    environment: Mapping[str, str],
    errors: int = subprocess.STDOUT,
) -> "subprocess.Popen[bytes]":
    """Start a process that the kernel kills when this one dies, for whatever reason.

    Args:
        command: The program, by path or by name, and its arguments.
        log: The file for its output, which is appended to, or `subprocess.PIPE`.
        folder: Its working directory.
        environment: All of its variables.
        errors: Where standard error goes; default: with the output.
    """
    guard = shutil.which("setpriv")
    words = [str(word) for word in command]
    if guard:
        words = [guard, "--pdeathsig", "KILL", *words]

    def start() -> "subprocess.Popen[bytes]":
        if isinstance(log, int):
            return _popen(words, log, folder, environment, errors)
        with log.open("ab") as output:
            return _popen(words, output.fileno(), folder, environment, errors)

    return _spawner().submit(start).result()


def _popen(
    words: list[str], output: int, folder: Path, environment: Mapping[str, str], errors: int
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - the tests' own commands, no shell
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
    )


def stop(process: "subprocess.Popen[bytes]", *, grace_seconds: float = 10.0) -> int:
    """Ask a process to end, kill it after the grace period, and return its exit code."""
    if process.poll() is None:
        # A paused process handles no signal but KILL until it continues.
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
