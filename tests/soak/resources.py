"""What must not grow, however long the soak: connections, keys, descriptors and memory."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression
from time import monotonic

from nemesis import Child, Stage
from redis import exceptions

EVERY_SECONDS = 5.0
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20
SPARE = {"connections": 15, "keys": 60, "memory": 64}
"""What a number may grow by, by the first word of its name; 12 where none is given."""


class Resources:
    """Looks every few seconds, and tells what has grown, and how fast.

    Descriptors are those of every process. Memory is that of the worker which is never killed,
    and of the broker, in MiB.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._looks: list[tuple[float, dict[str, float]]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once; a broker that does not answer is not looked at."""
        with suppress(exceptions.RedisError, LookupError, OSError):
            self._looks.append((monotonic(), await asyncio.to_thread(self._look)))

    def _look(self) -> dict[str, float]:
        found = {"connections": 0.0, "keys": 0.0, "memory of the broker": 0.0}
        for server in self._stage.broker.masters():
            with server.client(admin=True, timeout_seconds=1) as client:
                found["connections"] += int(client.info("clients")["connected_clients"])
                found["memory of the broker"] += int(client.info("memory")["used_memory"]) / MIB
                found["keys"] += client.dbsize()
        for child in self._stage.children:
            folder = Path(f"/proc/{child.process.pid}")
            found[f"descriptors of {child.name}"] = len(list((folder / "fd").iterdir()))
            if child is self._stage.spared:
                found[f"memory of {child.name}"] = _resident(child) / MIB
        return found

    def grown(self) -> list[str]:
        """Return what the last look has seen more of than the first third, beyond what is normal.

        One of the first looks may have seen a process that had only just begun.
        """
        if len(self._looks) < 2:
            return []
        early = [found for _, found in self._looks[: -(-len(self._looks) // 3)]]
        _, last = self._looks[-1]
        most = {name: max(found[name] for found in early) for name in last}
        return [
            f"{name}: {most[name]:.0f} → {count:.0f}"
            for name, count in last.items()
            if count > most[name] + SPARE.get(name.split()[0], 12)
        ]

    def slopes(self) -> dict[str, float]:
        """Return the growth of each number in an hour, by the looks after the first sixth."""
        looks = self._looks[len(self._looks) // 6 :]
        if len(looks) < 3:
            return {}
        hours = [at / 3600 for at, _ in looks]
        return {
            name: linear_regression(hours, [found[name] for _, found in looks]).slope
            for name in looks[0][1]
        }


def _resident(child: Child) -> int:
    return int(Path(f"/proc/{child.process.pid}/statm").read_text().split()[1]) * PAGE
