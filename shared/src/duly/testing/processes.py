"""Child processes that do not outlive the tests, and free ports for them."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_port_with_bus() -> int:
    """Return a free port whose cluster bus port (10,000 above) is free too."""
    while True:
        port = free_port()
        if port + 10_000 > 65_535:  # noqa: PLR2004 - the last port there is
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


@cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel kills a child when the *thread* that started it ends. Tests start children from
    # the threads of short-lived loops too, so one thread that lives as long as pytest does it.
    return ThreadPoolExecutor(1, "spawner")


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path | int,
    folder: Path,
    environment: Mapping[str, str],
    errors: int = subprocess.STDOUT,
) -> "subprocess.Popen[bytes]":
    """Start a process that the kernel kills when this one dies, however it dies.

    Args:
        command: The program, by path or by name, and its arguments.
        log: The file that its output is appended to, or `subprocess.PIPE`.
        folder: Its working directory.
        environment: All of its variables.
        errors: What becomes of standard error; it joins the output by default.
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
    """Ask a process to end, kill it after the grace, and return its exit code."""
    if process.poll() is None:
        # A paused process takes no other signal than KILL before it goes on.
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
