"""Runs a service and restarts it when one of its sources changes, for `skaffold dev`.

It uses only the standard library: the development image is that of the service plus this file.
"""

# ruff: noqa: INP001 - a script, not a package

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path("/src")
POLL_SECONDS = 0.5
STOP_SECONDS = 5.0
ONCE = {"migrate", "seed"}
"""Commands that end by themselves and are not reloaded."""


def snapshot(root: Path) -> dict[Path, int]:
    """Return the modification time of each source file, in nanoseconds."""
    found = {}
    for path in root.rglob("*"):
        if path.suffix in {".py", ".lua", ".html", ".css", ".js"}:
            try:
                found[path] = path.stat().st_mtime_ns
            except FileNotFoundError:  # removed between the listing and here
                continue
    return found


def stop(child: subprocess.Popen[bytes]) -> int:
    """Terminate the child, kill it after STOP_SECONDS, and return its exit code."""
    child.terminate()
    try:
        return child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def supervise(command: Sequence[str], stopping: threading.Event) -> int:
    """Run the command until a signal arrives; restart it whenever a source changes.

    A child that ends by itself is not restarted until a source changes: a typing mistake shows one
    traceback, not a loop of them.
    """
    seen = snapshot(SOURCES)
    child = subprocess.Popen(command)  # noqa: S603 - our own interpreter and module
    while not stopping.wait(POLL_SECONDS):
        current = snapshot(SOURCES)
        if current == seen:
            continue
        seen = current
        sys.stdout.write("sources changed: restarting\n")
        stop(child)
        child = subprocess.Popen(command)  # noqa: S603
    return stop(child)


def main() -> int:
    """Run `python -m <module> <arguments…>`."""
    if ONCE & set(sys.argv[2:3]):
        return subprocess.call([sys.executable, "-m", *sys.argv[1:]])  # noqa: S603
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return supervise([sys.executable, "-m", *sys.argv[1:]], stopping)


if __name__ == "__main__":
    sys.exit(main())
