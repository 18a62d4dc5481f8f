"""One task a call, beside the same script call without a client: in turns, in one process.

`python clients.py PORT` prints what it measured as JSON. Turns of 200 calls meet the same noise, so
the ratio of their medians says something on a busy machine too.
"""

import json
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import hiredis
import uvloop
from workers import Noop

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.enqueue.client import Client
from duly.engine.enqueue.request import Request, prepare
from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.transport.protocol import Endpoint, connect
from duly.runtime.settings import RedisSettings

HOST = "127.0.0.1"
CALLS = 200
Figures = dict[str, float]


class Stopwatch:
    """Seconds and CPU seconds a call, of each side."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._cpu: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def turn(self, side: str) -> Iterator[None]:
        began, before = time.perf_counter(), time.process_time()
        yield
        self._seconds[side].append((time.perf_counter() - began) / CALLS)
        self._cpu[side].append((time.process_time() - before) / CALLS)

    def figures(self, name: str) -> Figures:
        """Return calls a second, CPU in µs a call, and the ratio of both sides."""
        raw, ours = median(self._seconds["raw"]), median(self._seconds["duly"])
        return {
            f"raw {name}": 1 / raw,
            f"duly {name}": 1 / ours,
            f"raw {name} cpu": median(self._cpu["raw"]) * 1e6,
            f"duly {name} cpu": median(self._cpu["duly"]) * 1e6,
        }


def script_calls() -> list[tuple[object, ...]]:
    """Return the commands that a client sends for some tasks."""
    keys, commands = queue_keys("default"), []
    for _ in range(CALLS):
        new = prepare(Request(job=Noop()), 0, {}).new
        call = scripts.add(keys, [new], max_length=10**9, whole=False)
        commands.append(("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args))
    return commands


def blocking(port: int, turns: int) -> Figures:
    """Measure `BlockingClient.enqueue` beside a plain socket with hiredis."""
    watch, job, reader = Stopwatch(), Noop(), hiredis.Reader(notEnoughData=None)
    with (
        BlockingClient(RedisSettings(port=port)) as client,
        socket.create_connection((HOST, port)) as plain,
    ):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.enqueue(job)
        for _ in range(turns):
            commands = script_calls()
            with watch.turn("raw"):
                for command in commands:
                    plain.sendall(hiredis.pack_command(command))
                    while reader.gets() is None:
                        reader.feed(plain.recv(16_384))
            with watch.turn("duly"):
                for _ in range(CALLS):
                    client.enqueue(job)
    return watch.figures("blocking")


async def awaited(port: int, turns: int) -> Figures:
    """Measure `Client.enqueue` beside the connection of the transport."""
    watch, job = Stopwatch(), Noop()
    wire = await connect(Endpoint(host=HOST, port=port), 10.0)
    async with Client.connect(RedisSettings(port=port)) as client:
        await client.enqueue(job)
        for _ in range(turns):
            commands = script_calls()
            with watch.turn("raw"):
                for command in commands:
                    await wire.call(command)
            with watch.turn("duly"):
                for _ in range(CALLS):
                    await client.enqueue(job)
    wire.close()
    return watch.figures("awaited")


if __name__ == "__main__":
    here, times = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(blocking(here, times) | uvloop.run(awaited(here, times))))
