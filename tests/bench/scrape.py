"""What the metrics of the queues cost: one reading by the scheduler, and one scrape of it."""

import asyncio
import time
from statistics import median
from typing import NamedTuple

import redis
from prometheus_client import CollectorRegistry, generate_latest

from duly import Client, Job, RedisSettings
from duly.engine.inspection.exporter import Exporter
from duly.engine.inspection.queue_metrics import QueueMetrics

QUEUES, TASKS, ROUNDS = 20, 50, 30
MARK = "the bench has read"
"""What ends the part of the broker's monitor that is counted."""


class Nothing(Job, kind="nothing"):
    """Waits in a queue."""


class Times(NamedTuple):
    """Seconds by the clock, and of this process's CPU, which a busy machine leaves alone."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Times":
        return cls(time.perf_counter(), time.process_time())

    def since(self, before: "Times") -> "Times":
        return Times(self.wall - before.wall, self.cpu - before.cpu)


def _told(times: list[Times]) -> str:
    wall, cpu = (median(each) * 1000 for each in zip(*times, strict=True))
    return f"{wall:>9.1f} ms, {cpu:.1f} ms of CPU, "


async def _read(client: redis.Redis) -> tuple[list[Times], list[Times], int, int]:
    settings = RedisSettings(port=client.connection_pool.connection_kwargs["port"])
    registry, readings, scrapes = CollectorRegistry(), [], []
    metrics = QueueMetrics(registry, {})
    async with (
        Client.connect(settings, create_queues=True) as producer,
        Exporter.open(settings) as exporter,
    ):
        for number in range(QUEUES):
            for _ in range(TASKS):
                await producer.enqueue(Nothing(), queue=f"queue-{number}")
        for _ in range(ROUNDS):
            began = Times.now()
            await metrics.run_once(exporter)
            read = Times.now()
            generate_latest(registry)
            readings.append(read.since(began))
            scrapes.append(Times.now().since(read))
        with client.monitor() as monitor:
            await metrics.run_once(exporter)
            generate_latest(registry)
            client.echo(MARK)
            direct, inner = _count(monitor)
    return readings, scrapes, direct, inner


def _count(monitor: redis.client.Monitor) -> tuple[int, int]:
    """Return how many commands came from clients until the mark, and from scripts."""
    direct = inner = 0
    while MARK not in (said := monitor.next_command())["command"]:
        if said["client_type"] == "lua":
            inner += 1
        else:
            direct += 1
    return direct, inner


def scrape(client: redis.Redis) -> None:
    """Print the time and the commands of a reading, and the time of a scrape."""
    client.flushall()
    readings, scrapes, direct, inner = asyncio.run(_read(client))
    print(f"\nmetrics of {QUEUES} queues of {TASKS} tasks, medians of {ROUNDS}")
    print(f"{'a reading, every five seconds':34}{_told(readings)}", end="")
    print(f"{direct} commands ({inner} more within their scripts)")
    print(f"{'a scrape, which asks nobody':34}{_told(scrapes)}0 commands")
