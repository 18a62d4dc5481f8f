"""One task a call, beside the same script call made in other ways: in turns, in one process.

`python clients.py PORT` prints what it measured as JSON. Turns of 200 calls meet the same noise, so
the ratio of their medians says something on a busy machine too. The sides:

- raw: commands that were made and packed beforehand, on a bare connection: the limit;
- made: the same, where each command is made when it is sent, as every client has to;
- redis-py: commands that were made beforehand, sent by redis-py with hiredis;
- duly: `Client.enqueue` and `BlockingClient.enqueue`.
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
import redis
import redis.asyncio
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
SIDES = ("raw", "made", "redis-py", "duly")
Command = tuple[bytes | str | int | float, ...]
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
        """Return calls a second and CPU in µs a call, by side."""
        rates = {f"{side} {name}": 1 / median(self._seconds[side]) for side in SIDES}
        return rates | {f"{side} {name} cpu": median(self._cpu[side]) * 1e6 for side in SIDES}


def made() -> Command:
    """Return a command that adds a new task."""
    new = prepare(Request(job=Noop()), 0, {}).new
    call = scripts.add(queue_keys("default"), [new], max_length=10**9, whole=False)
    return ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)


def blocking(port: int, turns: int) -> Figures:
    """Measure `BlockingClient.enqueue` beside plain sockets with hiredis."""
    watch, job, reader = Stopwatch(), Noop(), hiredis.Reader(notEnoughData=None)
    with (
        BlockingClient(RedisSettings(port=port)) as client,
        socket.create_connection((HOST, port)) as plain,
        redis.Redis(port=port) as other,
    ):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send(packed: bytes) -> None:
            plain.sendall(packed)
            while reader.gets() is None:
                reader.feed(plain.recv(16_384))

        client.enqueue(job)
        for _ in range(turns):
            packed = [hiredis.pack_command(made()) for _ in range(CALLS)]
            with watch.turn("raw"):
                for each in packed:
                    send(each)
            with watch.turn("made"):
                for _ in range(CALLS):
                    send(hiredis.pack_command(made()))
            commands = [made() for _ in range(CALLS)]
            with watch.turn("redis-py"):
                for command in commands:
                    other.execute_command(*command)
            with watch.turn("duly"):
                for _ in range(CALLS):
                    client.enqueue(job)
    return watch.figures("blocking")


async def awaited(port: int, turns: int) -> Figures:
    """Measure `Client.enqueue` beside the connection of the transport, and beside redis-py."""
    watch, job = Stopwatch(), Noop()
    wire = await connect(Endpoint(host=HOST, port=port), 10.0)
    async with (
        Client.connect(RedisSettings(port=port)) as client,
        redis.asyncio.Redis(port=port) as other,
    ):
        await client.enqueue(job)
        for _ in range(turns):
            commands = [made() for _ in range(CALLS)]
            with watch.turn("raw"):
                for command in commands:
                    await wire.call(command)
            with watch.turn("made"):
                for _ in range(CALLS):
                    await wire.call(made())
            commands = [made() for _ in range(CALLS)]
            with watch.turn("redis-py"):
                for command in commands:
                    await other.execute_command(*command)
            with watch.turn("duly"):
                for _ in range(CALLS):
                    await client.enqueue(job)
    wire.close()
    return watch.figures("awaited")


if __name__ == "__main__":
    here, times = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(blocking(here, times) | uvloop.run(awaited(here, times))))
