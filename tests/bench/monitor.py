"""The monitor over many queues: how long its pages take, what they cost, and what open tabs get."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import quantiles

import httpx
import redis

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.request import Request
from duly.engine.inspection.inspector import Inspector
from duly.job import Job
from duly.runtime.settings import RedisSettings

QUEUES = 50
_BATCH = 5_000
_AT_ONCE = 10
_ROUNDS = 30
_STREAMS = 500
_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PREFIX = "/monitoring"
_LATER = timedelta(hours=1)
PAGES = (
    "/",
    "/queues/queue-00?state=waiting",
    "/queues/queue-00?state=archived",
    "/queues/queue-00?span=72h",
    "/queues/queue-00/groups",
    "/queues/queue-00/locks",
    "/queues/queue-00/enqueue",
    "/throughput?span=72h",
    "/throughput?span=90d",
    "/failures",
    "/schedules",
    "/servers",
    "/broker",
    "/audit",
    "/search?q=kind:paper",
    "/tasks/queue-00/one",
    "/api/v1/queues",
    "/api/v1/servers",
    "/api/v1/kinds",
)


class Paper(Job, kind="paper"):
    """Fills queues."""

    order_id: int = 0


def monitor(client: redis.Redis, *, queues: int, tasks: int) -> None:
    """Fill the broker, measure, and print."""
    port = client.connection_pool.connection_kwargs["port"]
    client.flushall()
    asyncio.run(_fill(port, queues, tasks))
    with _served(port) as (process, address):
        asyncio.run(_report(client, process.pid, address))


async def _fill(port: int, queues: int, tasks: int) -> None:
    """Enqueue tasks, and put as many beside them into the archives as the broker keeps them."""
    names = [f"queue-{number:02}" for number in range(queues)]
    settings = RedisSettings(port=port)
    share = max(1, tasks // queues)
    async with Client.connect(settings) as client, Inspector.connect(settings) as inspector:
        raw = redis.Redis(port=port)
        for name in names:
            for start in range(0, share, _BATCH):
                count = min(_BATCH, share - start)
                jobs = [Request(job=Paper(order_id=n), queue=name) for n in range(count)]
                await client.enqueue_many(jobs)
            await client.enqueue(Paper(), queue=name, task_id=f"one-{name}", delay=_LATER)
            await inspector.tasks.archive(name, f"one-{name}")
            _copy_archived(raw, name, f"one-{name}", share)
        await client.enqueue(Paper(), queue="queue-00", task_id="one")


def _copy_archived(raw: redis.Redis, queue: str, task: str, count: int) -> None:
    prefix = f"duly:{{{queue}}}:"
    record = raw.hget(f"{prefix}records", task)
    now_ms = int(time.time() * 1000)
    for start in range(0, count, _BATCH):
        ids = [f"old-{number}" for number in range(start, min(start + _BATCH, count))]
        pipe = raw.pipeline(transaction=False)
        pipe.hset(f"{prefix}records", mapping=dict.fromkeys(ids, record))
        pipe.hset(f"{prefix}index", mapping=dict.fromkeys(ids, "archived"))
        pipe.zadd(f"{prefix}archived", {name: now_ms - place for place, name in enumerate(ids)})
        pipe.execute()


@contextmanager
def _served(port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the monitor for the body; yield its process and its address."""
    environment = {
        **os.environ,
        "DULY_REDIS__PORT": str(port),
        "DULY_METRICS__PORT": "0",
        "DULY_MONITOR__ACCESS": "local",
        "DULY_ASYNC__MONITOR__PORT": "0",
        "DULY_LOG__FORMAT": "json",
    }
    command = [sys.executable, "-m", "duly_monitor"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            while b"address" not in line:
                line = process.stdout.readline()
            place = json.loads(line)["address"].removesuffix("/").removesuffix(_PREFIX)
            yield process, place.replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


async def _report(client: redis.Redis, pid: int, address: str) -> None:
    print(f"\n{'page':36}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'commands':>10}{'KB gzip':>9}")
    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with httpx.AsyncClient(
        base_url=address, limits=limits, timeout=120, trust_env=False
    ) as browser:
        for page in PAGES:
            answer = await browser.get(f"{_PREFIX}{page}")
            if answer.is_error:
                print(f"{page:36}  {answer.status_code}")
                continue
            size = len(gzip.compress(answer.content, 6)) / 1000
            commands = await _commands(client, browser, page)
            took, cpu = await _times(address, pid, page)
            p50, p99 = quantiles(took, n=100)[49], quantiles(took, n=100)[98]
            print(
                f"{page:36}{p50:>9.1f}{p99:>9.1f}{cpu:>9.2f}{commands:>10}{size:>9.1f}", flush=True
            )
        await _first_view(browser)
    await _streams(pid, address)


async def _commands(client: redis.Redis, browser: httpx.AsyncClient, page: str) -> str:
    """Return how many commands a page sends that finds nothing read, and how many scripts run."""
    await asyncio.sleep(12)  # so that nothing is kept
    with client.monitor() as watching:
        await browser.get(f"{_PREFIX}{page}")
        client.echo("the end")
        sent = inner = 0
        while "the end" not in (command := watching.next_command())["command"]:
            if command["client_type"] == "lua":
                inner += 1
            else:
                sent += 1
    return f"{sent}+{inner}"


async def _times(address: str, pid: int, page: str) -> tuple[list[float], float]:
    """Return the ms of each request, ten at once, and the CPU ms of one.

    On plain connections: a pool of them, as httpx has, lets some requests wait for others.
    """
    took: list[float] = []
    host, port = address.removeprefix("http://").split(":")

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            writer.write(_request(host, page))
            await _answer(reader)
            took.append((time.perf_counter() - begun) * 1000)
        writer.close()

    before = _cpu_seconds(pid)
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(ask())
    return took, (_cpu_seconds(pid) - before) * 1000 / len(took)


async def _answer(reader: asyncio.StreamReader) -> None:
    """Read an answer to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, length = head.partition(b"content-length: ")
    if found:
        await reader.readexactly(int(length.split(b"\r\n")[0]))
        return
    size = -1
    while size:
        size = int(await reader.readline(), 16)
        await reader.readexactly(size + 2)


async def _first_view(browser: httpx.AsyncClient) -> None:
    """Print what a browser without a cache loads for the overview."""
    page = await browser.get(f"{_PREFIX}/")
    found = {part.split('"')[0] for part in page.text.split(f'="{_PREFIX}/static/')[1:]}
    total = len(gzip.compress(page.content, 6))
    for each in found:
        answer = await browser.get(f"{_PREFIX}/static/{each}")
        total += len(gzip.compress(answer.content, 6))
    print(f"\nfirst view of the overview, compressed: {total / 1000:.1f} KB")


async def _streams(pid: int, address: str) -> None:
    """Print what an idle tab gets, and what 500 tabs cost of which half read nothing."""
    host, port = address.removeprefix("http://").split(":")
    async with _stream(host, int(port)) as (reader, _):
        await _read_for(reader, 5)
        size = await _read_for(reader, _SECONDS)
    print(f"idle tab: {size / _SECONDS:,.0f} bytes/s")
    resting = _resident_mb(pid)
    async with asyncio.timeout(300):
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(_STREAMS)]
    for _, writer in opened:
        writer.write(_request(host, "/live/queues"))
    await asyncio.sleep(5)
    before, begun = _cpu_seconds(pid), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for reader, _ in opened[::2]:
            group.create_task(_read_for(reader, _SECONDS))
    cpu = (_cpu_seconds(pid) - before) / (time.perf_counter() - begun)
    took, _ = await _times(address, pid, "/")
    print(
        f"{_STREAMS} streams, half of them unread: {cpu * 100:.1f} % of a core, "
        f"{_resident_mb(pid) - resting:.1f} MB more, overview p99 "
        f"{quantiles(took, n=100)[98]:.1f} ms"
    )
    for _, writer in opened:
        writer.close()


@asynccontextmanager
async def _stream(
    host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(_request(host, "/live/queues"))
    try:
        yield reader, writer
    finally:
        writer.close()


def _request(host: str, page: str) -> bytes:
    head = f"GET {_PREFIX}{page} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n"
    return head.encode()


async def _read_for(reader: asyncio.StreamReader, seconds: float) -> int:
    """Return how many bytes came in so many seconds."""
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(65_536):
                size += len(data)
    except TimeoutError:
        pass
    return size


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
