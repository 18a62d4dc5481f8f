"""What producers and operators do all the while; every promise that they get is written down."""

import asyncio
import random
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from jobs import Limited, Member, Unique, Work

from duly import (
    BrokerError,
    Client,
    DulyError,
    DuplicateTaskError,
    EnqueueError,
    chain,
    group,
    step,
)
from duly.testing.history import What

QUEUES = ("critical", "default", "low")


@dataclass
class Promises:
    """What was accepted, beside the history."""

    flows: dict[str, dict] = field(default_factory=dict)
    """Flow → "kind" (chain or group), "members" (ids in their order), "then" (id or None)."""
    members: dict[str, float] = field(default_factory=dict)
    """Task id of a member of a group to be merged → when it was accepted."""
    unique: dict[str, str] = field(default_factory=dict)
    """Task id → name of the unique job."""
    cancelled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    refused: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


class Load:
    """Enqueues a seeded mix, about `rate` calls a second, until told to stop."""

    def __init__(self, client: Client, history, *, seed: int, rate: float) -> None:
        self._client, self._history, self._every = client, history, 1 / rate
        self._chance = random.Random(seed)
        self.promises = Promises()
        self._number = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Begin a call at each instant, whether or not those before it were answered."""
        makers = (
            [self._work] * 10
            + [self._unique] * 3
            + [self._limited] * 2
            + [self._member] * 3
            + [self._chain, self._group]
        )
        async with asyncio.TaskGroup() as calls:
            while not stop.is_set():
                self._number += 1
                calls.create_task(self._chance.choice(makers)(f"s{self._number:06}"))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._every)

    async def _enqueue(self, job, task_id: str, **options) -> None:
        if await self._accepted(job, task_id, **options):
            self._history.add(What.ENQUEUED, task_id)

    async def _accepted(self, job, task_id: str, **options) -> bool:
        try:
            await self._client.enqueue(job, task_id=task_id, **options)
        except DuplicateTaskError:
            self.promises.refused["duplicate"] += 1
        except BrokerError:
            self._history.add(What.UNCERTAIN, task_id)
        except EnqueueError as error:
            self.promises.refused[type(error).__name__] += 1
        else:
            return True
        return False

    async def _work(self, task_id: str) -> None:
        job = Work(
            seconds=self._chance.choice((0, 0, 0.01, 0.1, 1.0)),
            failures=self._chance.choice((0, 0, 0, 1, 2)),
        )
        delay = self._chance.choice((None, None, timedelta(seconds=0.5), timedelta(seconds=3)))
        await self._enqueue(job, task_id, queue=self._chance.choice(QUEUES), delay=delay)

    async def _unique(self, task_id: str) -> None:
        name = f"u{self._chance.randrange(40)}"
        self.promises.unique[task_id] = name
        # One queue: a lock is a queue's.
        await self._enqueue(Unique(name=name), task_id, queue="default")

    async def _limited(self, task_id: str) -> None:
        await self._enqueue(Limited(), task_id, queue="default")

    async def _member(self, task_id: str) -> None:
        name = f"g{self._chance.randrange(3)}"
        if await self._accepted(Member(name=task_id), task_id, queue="default", group=name):
            self.promises.members[task_id] = time.time()

    async def _chain(self, flow_id: str) -> None:
        ids = [f"{flow_id}.{place}" for place in (1, 2, 3)]
        queues = [self._chance.choice(QUEUES) for _ in ids]
        flow = chain(*(step(Work(), queue=queue) for queue in queues))
        await self._start(flow, flow_id, {"kind": "chain", "members": ids, "then": None})

    async def _group(self, flow_id: str) -> None:
        count = self._chance.randrange(2, 6)
        ids = [f"{flow_id}-m{place}" for place in range(count)]
        members = [step(Work(), queue=self._chance.choice(QUEUES), task_id=each) for each in ids]
        then = step(Work(), queue=self._chance.choice(QUEUES), task_id=f"{flow_id}-then")
        facts = {"kind": "group", "members": ids, "then": f"{flow_id}-then"}
        await self._start(group(members, then), flow_id, facts)

    async def _start(self, flow, flow_id: str, facts: dict) -> None:
        try:
            await self._client.start(flow, flow_id=flow_id)
        except BrokerError:
            for task_id in [*facts["members"], *filter(None, [facts["then"]])]:
                self._history.add(What.UNCERTAIN, task_id)
        except DulyError as error:
            self.promises.refused[type(error).__name__] += 1
        else:
            self.promises.flows[flow_id] = facts
            for task_id in [*facts["members"], *filter(None, [facts["then"]])]:
                self._history.add(What.ENQUEUED, task_id)
