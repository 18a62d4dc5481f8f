"""Tasks of kinds that this server does not know: left to a server that does, within a bound.

While old and new workers serve a queue side by side, either may read what only the other can run.
Each server says with its heartbeats which kinds it knows; a server that reads a task of an unknown
kind defers it for a moment that grows, its attempts unchanged, so that another may read it.
"""

import asyncio
import random
import re
from collections import defaultdict
from datetime import timedelta

import structlog

from duly.clock import from_unix_ms, to_ms
from duly.engine.storage.codec import Message, encode_attempt
from duly.engine.storage.delivery import Delivery, tries_text
from duly.engine.storage.reports import UNKNOWN_KIND
from duly.engine.storage.scripts import Settlement
from duly.engine.storage.store import Store
from duly.engine.worker.outcomes import Outcomes
from duly.engine.worker.received import Received
from duly.errors import BrokerError
from duly.job import is_name
from duly.runtime.supervision import Beat, unwatched
from duly.task import Attempt, AttemptOutcome

_FIRST_MS, _LONGEST_KNOWN_MS, _LONGEST_MS = 50, 2_000, 15_000
_MOST_DOUBLINGS = 10
_PAUSE = 0.5
_is_taskiq_name = re.compile(r"[\w.]{1,200}:\w{1,100}").fullmatch
"""Tells whether a text is what taskiq calls a function: `module.name:function`."""
_WARN_EVERY_MS = 60_000
_MOST_WARNED = 100
_Task = tuple[Received, Message]


class UnknownKinds:
    """Collects tasks of unknown kinds; `run` decides what becomes of them.

    Args:
        store: Knows which kinds live servers have handlers for.
        outcomes: Defers tasks, and quarantines those that nobody takes.
        server: This server's id.
        grace: How long a task may wait while no live server knows its kind; 0: not at all.
    """

    def __init__(self, store: Store, outcomes: Outcomes, *, server: str, grace: timedelta) -> None:
        self._store, self._outcomes, self._server = store, outcomes, server
        self._grace_ms = to_ms(grace)
        self._found: defaultdict[str, list[_Task]] = defaultdict(list)
        self._wake = asyncio.Event()
        self._warned: dict[tuple[str, str], int] = {}
        self._log = structlog.get_logger("duly.engine")

    def __len__(self) -> int:
        """Return how many tasks are not decided on yet."""
        return sum(map(len, self._found.values())) if self._found else 0

    def put(self, task: Received, message: Message) -> None:
        """Take in a task whose kind has no handler here."""
        if is_name(message.task_name) or _is_taskiq_name(message.task_name):
            self._found[task.queue].append((task, message))
            self._wake.set()
        else:
            self._outcomes.quarantined(task, "its kind is not a valid name of a kind")

    def take(self) -> list[Received]:
        """Give up what is not decided on yet."""
        found, self._found = self._found, defaultdict(list)
        return [task for tasks in found.values() for task, _ in tasks]

    def wake(self) -> None:
        """Let `run` look whether there is something to decide on."""
        self._wake.set()

    async def run(self, beat: Beat = unwatched) -> None:
        """Decide on what is put in, until cancelled; beat before each wait and each queue."""
        if self._found:
            self._wake.set()
        while True:
            beat()
            await self._wake.wait()
            self._wake.clear()
            for queue, tasks in list(self._found.items()):
                beat()
                await self._decide_all(queue, tasks)

    async def _decide_all(self, queue: str, tasks: list[_Task]) -> None:
        """Decide on one queue's tasks; by itself, since others may be on shards that answer."""
        batch = tuple(tasks)
        try:
            kinds = sorted({message.task_name for _, message in batch})
            known = await self._store.known(queue, kinds)
        except BrokerError:
            asyncio.get_running_loop().call_later(_PAUSE, self._wake.set)
            return
        # What was put in meanwhile has a turn of its own.
        del tasks[: len(batch)]
        if not tasks:
            self._found.pop(queue, None)
        for task, message in batch:
            self._decide(task, message, message.task_name in known)

    def _decide(self, task: Received, message: Message, is_known: bool) -> None:  # noqa: FBT001
        now_ms, delivery, queue = self._store.now_ms(), task.delivery, task.queue
        since_ms = 0 if is_known else delivery.deferred_since_ms or now_ms
        if not is_known:
            self._warn(queue, message.task_name, now_ms)
            if now_ms - since_ms >= self._grace_ms:
                self._outcomes.quarantined(task, UNKNOWN_KIND)
                return
        wait_ms = _wait_ms(delivery.deferrals, _LONGEST_KNOWN_MS if is_known else _LONGEST_MS)
        if not is_known:
            wait_ms = min(wait_ms, since_ms + self._grace_ms - now_ms)
        first = since_ms > 0 and not delivery.deferred_since_ms
        self._outcomes.deferred(
            queue,
            Settlement(
                stream_id=delivery.stream_id,
                id=message.task_id,
                kind="-",  # foreign text is no name for a counter
                destination="scheduled",
                in_ms=wait_ms,
                tries=tries_text(
                    delivery.attempts,
                    delivery.crashes,
                    delivery.uncounted_failures,
                    deferrals=delivery.deferrals + 1,
                    since_ms=since_ms,
                    has_token=delivery.has_token,
                ),
                attempt=self._record(delivery, now_ms) if first else b"",
            ),
        )

    def _record(self, delivery: Delivery, now_ms: int) -> bytes:
        return encode_attempt(
            Attempt(
                number=delivery.attempts + 1,
                outcome=AttemptOutcome.DEFERRED,
                at=from_unix_ms(now_ms),
                server=self._server,
                error=UNKNOWN_KIND,
            )
        )

    def _warn(self, queue: str, kind: str, now_ms: int) -> None:
        """Log once a minute which kind nobody knows; foreign kinds cannot make the log grow."""
        last_ms = self._warned.get((queue, kind))
        if last_ms is None and len(self._warned) >= _MOST_WARNED:
            return
        if last_ms is None or now_ms - last_ms >= _WARN_EVERY_MS:
            self._warned[queue, kind] = now_ms
            self._log.warning("No live worker knows a kind", queue=queue, kind=kind)


def _wait_ms(deferrals: int, longest_ms: int) -> int:
    """Return how long to defer a task: twice as long each time, jittered, within the limit."""
    wait_ms = min(_FIRST_MS << min(deferrals, _MOST_DOUBLINGS), longest_ms)
    return round(wait_ms * random.uniform(0.7, 1.0))  # noqa: S311 - no secret
