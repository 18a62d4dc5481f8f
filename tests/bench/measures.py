"""One measurement each: start, load, wait for a condition, read the counters, stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import redis
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from workers import Noop, stock_broker

from duly.engine.enqueue.client import Client
from duly.engine.storage.codec import encode_attempt
from duly.engine.storage.scripts import Settlement
from duly.engine.storage.store import BATCH as ONE_SCRIPT
from duly.engine.storage.store import Store
from duly.runtime.settings import RedisSettings
from duly.task import Attempt, AttemptOutcome

_DEADLINE = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")
BATCH = 5_000
_ATTEMPT = encode_attempt(
    Attempt(
        number=1,
        outcome=AttemptOutcome.FAILED,
        at=datetime.now(UTC),
        error="ValueError: no such order",
        traceback="Traceback (most recent call last):\n" * 10,
    )
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str
    stream: str
    group: str


STOCK = Side("stock", "stock", "taskiq")
DULY = Side("duly", "duly:{default}:stream", "workers")


@contextmanager
def worker(side: Side, port: int, stamps: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run one side's worker for the body, in a process group of its own."""
    here = str(Path(__file__).parent)
    if side is DULY:
        code = f"import sys; sys.path.insert(0, {here!r}); import workers; "
        command = [sys.executable, "-c", code + f"workers.duly_worker({port}, {stamps!r})"]
    else:
        command = [
            sys.executable, "-m", "taskiq", "worker", "workers:stock_broker", "--workers", "1",
            "--max-async-tasks", "100", "--max-prefetch", "100", "--log-level", "WARNING",
            "--no-configure-logging",
        ]  # fmt: skip
        command[4] = "workers:broker_factory"
    environment = {**os.environ, "BENCH_PORT": str(port), "BENCH_STAMPS": stamps}
    process = subprocess.Popen(
        command, cwd=here, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def cpu_seconds(leader: int) -> float:
    """Return user and system time of a process group so far."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def wait_for(condition: Callable[[], bool], every: float = 0.01) -> float:
    """Wait until a condition holds; return when it did.

    It looks seldom: each look takes time from those that are measured.
    """
    deadline = time.perf_counter() + _DEADLINE
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError("the measurement took too long")
        time.sleep(every)
    return time.perf_counter()


async def load(side: Side, port: int, count: int) -> None:
    """Enqueue no-op jobs as fast as the side can."""
    if side is DULY:
        async with Client.connect(RedisSettings(port=port)) as client:
            for start in range(0, count, BATCH):
                await client.enqueue_many([Noop()] * min(BATCH, count - start))
        return
    os.environ["BENCH_PORT"] = str(port)
    broker = stock_broker()
    task = broker.find_task("noop")
    await broker.startup()
    for _ in range(0, count, 100):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(task.kiq())
    await broker.shutdown()


async def load_one_by_one(side: Side, port: int, count: int, pause: float = 0.0) -> None:
    """Enqueue jobs one after the other, each awaited and stamped when there is a pause."""
    if side is DULY:
        async with Client.connect(RedisSettings(port=port)) as client:
            for _ in range(count):
                await client.enqueue(Noop(stamp=time.time() if pause else 0.0))
                if pause:
                    await asyncio.sleep(pause)
        return
    os.environ["BENCH_PORT"] = str(port)
    broker = stock_broker()
    task = broker.find_task("noop")
    await broker.startup()
    for _ in range(count):
        await task.kiq(stamp=time.time() if pause else 0.0)
        if pause:
            await asyncio.sleep(pause)
    await broker.shutdown()


async def load_together(side: Side, port: int, count: int) -> None:
    """Enqueue jobs one a call, a hundred calls at the same time."""
    if side is DULY:
        async with Client.connect(RedisSettings(port=port)) as client:
            for _ in range(0, count, 100):
                async with asyncio.TaskGroup() as group:
                    for _ in range(100):
                        group.create_task(client.enqueue(Noop()))
        return
    await load(side, port, count)


def _in_process(function: str, *args: object) -> float:
    """Run a loader in a process of its own; return the seconds it took after its imports."""
    here = str(Path(__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {here!r}); import time, uvloop, measures as m; "
        f"t = time.perf_counter(); uvloop.run(m.{function}({', '.join(map(str, args))})); "
        "print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return float(done.stdout.split()[-1])


async def archive(port: int, count: int) -> None:
    """Archive no-op jobs: enqueue them, read them and give them up, as a worker would."""
    settings = RedisSettings(port=port)
    async with Client.connect(settings) as client, Store.open(settings) as store:
        reader = store.reader("default")
        for _ in range(0, count, ONE_SCRIPT):
            tasks = await client.enqueue_many([Noop()] * ONE_SCRIPT)
            held = await reader.read(server="bench", count=ONE_SCRIPT, block_ms=1_000)
            settlements = [
                Settlement(
                    stream_id=delivery.stream_id,
                    id=task.id,
                    kind=task.kind,
                    destination="archived",
                    tries="1 0",
                    attempt=_ATTEMPT,
                    outcomes="processed,failed,archived",
                )
                for task, delivery in zip(tasks, held, strict=True)
            ]
            await store.settle("default", settlements)
        await reader.close()


def drain(side: Side, client: redis.Redis, count: int, *, archived: int = 0) -> tuple[float, float]:
    """Return jobs a second, and CPU seconds of the worker per 100,000 jobs."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    if archived:
        uvloop.run(archive(port, archived))
    uvloop.run(load(side, port, count))

    def group() -> dict[str, int]:
        groups = client.xinfo_groups(side.stream)
        return groups[0] if groups else {"entries-read": 0, "pending": 0}

    read = group()["entries-read"] or 0
    with worker(side, port) as process:
        start = wait_for(lambda: (group()["entries-read"] or 0) > read)
        before = cpu_seconds(process.pid)
        if side is DULY:
            end = wait_for(lambda: client.xlen(side.stream) == 0)
        else:
            end = wait_for(lambda: group()["entries-read"] >= count and not group()["pending"])
        cpu = cpu_seconds(process.pid) - before
    return count / (end - start), cpu / count * 100_000


def enqueue(side: Side, client: redis.Redis, count: int, *, loader: str) -> float:
    """Return enqueues a second, by one of the loaders above."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    return count / _in_process(loader, f"m.{side.name.upper()}", port, count)


def pick_up(side: Side, client: redis.Redis, seconds: float) -> tuple[float, float]:
    """Return the median and the 99th percentile of the delay in ms, at 200 jobs a second."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    with tempfile.TemporaryDirectory() as folder:
        stamps = str(Path(folder) / "stamps.json")
        with worker(side, port, stamps):
            wait_for(lambda: any(int(c["idle"]) < 5000 for c in _blocked(client)))
            count = int(seconds * 200)
            _in_process("load_one_by_one", f"m.{side.name.upper()}", port, count, 0.0045)
        delays = json.loads(Path(stamps).read_text())
    delays = delays[len(delays) // 10 :]
    cuts = quantiles([delay * 1000 for delay in delays], n=100)
    return cuts[49], cuts[98]


def _blocked(client: redis.Redis) -> list[dict[str, str]]:
    return [c for c in client.client_list() if c["cmd"].startswith("xreadgroup")]


def idle(side: Side, client: redis.Redis, seconds: float) -> tuple[float, float]:
    """Return commands a second and the share of a core (in per cent) of a worker that waits."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    with worker(side, port) as process:
        wait_for(lambda: bool(_blocked(client)))
        time.sleep(3)
        commands, cpu = _commands(client), cpu_seconds(process.pid)
        time.sleep(seconds)
        return (
            (_commands(client) - commands - 1) / seconds,
            (cpu_seconds(process.pid) - cpu) / seconds * 100,
        )


def _commands(client: redis.Redis) -> int:
    """Count commands that clients sent: those inside scripts are the script's."""
    stats = client.info("commandstats")
    return sum(
        entry["calls"]
        for name, entry in stats.items()
        if name.split("_", 1)[1].split("|")[0] in _SENT
    )


_SENT = {"evalsha", "eval", "xreadgroup", "ping", "fcall", "info", "smembers", "publish"}


def single_calls(client: redis.Redis, turns: int = 30) -> dict[str, float]:
    """Return what `clients.py` measures of one task a call, with and without a client."""
    client.flushall()
    port = client.connection_pool.connection_kwargs["port"]
    program = Path(__file__).parent / "clients.py"
    done = subprocess.run(
        [sys.executable, program, str(port), str(turns)],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def raw_limit(client: redis.Redis, count: int) -> float:
    """Return XADDs a second in pipelines of 100: what the connection itself allows."""
    client.flushall()
    started = time.perf_counter()
    for _ in range(0, count, 100):
        pipeline = client.pipeline(transaction=False)
        for _ in range(100):
            pipeline.xadd("raw", {"data": b"x" * 120})
        pipeline.execute()
    return count / (time.perf_counter() - started)
