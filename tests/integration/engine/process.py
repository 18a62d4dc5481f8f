"""A worker process for tests: `process.py PORT FOLDER LEASE-SECONDS`; tells what it does.

Each task appends "begin NUMBER" to the file named as the process, waits for a file `go`, and
appends "end NUMBER".
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from duly.engine.worker.server import Server, ServerOptions
from duly.job import Job
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings, RedisSettings


class Held(Job, kind="held"):
    """Runs until the test lets it go."""

    number: int


async def work(port: int, folder: Path, lease: float, stop: asyncio.Event) -> int:
    """Work until stopped."""
    options = ServerOptions(queues={"default": 1}, concurrency=2, lease=timedelta(seconds=lease))

    def tell(words: str) -> None:
        with (folder / str(os.getpid())).open("a", encoding="utf-8") as lines:
            lines.write(words + "\n")

    async def held(job: Held, _: object) -> None:
        tell(f"begin {job.number}")
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)
        tell(f"end {job.number}")

    async with Server.open(RedisSettings(port=port), options) as server:
        server.handle(Held, held)
        tell("up")
        with service.signal_handlers({"SIGTSTP": server.quiet, "SIGCONT": server.resume}):
            await server.run(stop)
    return 0


if __name__ == "__main__":
    logs.configure(LogSettings(level="DEBUG"), service="test")
    given = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    raise SystemExit(service.run(lambda stop: work(*given, stop)))
