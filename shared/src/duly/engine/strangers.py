"""Tasks of kinds that this server does not know: left for one that does, for as long as is sane.

While old and new workers serve a queue side by side, either may read what only the other can run.
Each server says with its heartbeats which kinds it knows; a server that reads an unknown one sets
it aside for a moment that grows, its attempts unchanged, so that another may read it.
"""

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from duly.clock import from_unix_ms, to_ms
from duly.engine.codec import Message, encode_attempt
from duly.engine.delivery import Delivery, tries_text
from duly.engine.scripts import Settlement
from duly.engine.settler import Settler
from duly.engine.store import Store
from duly.errors import BrokerError
from duly.job import NAME_PATTERN
from duly.task import Attempt, AttemptOutcome

REASON = "no live worker knows its kind"
_FIRST_MS, _LONGEST_KNOWN_MS, _LONGEST_MS = 50, 2_000, 15_000
_MOST_DOUBLINGS = 10
_PAUSE = 0.5
_COMPLAIN_EVERY_MS = 60_000
_MOST_TOLD = 100
Stranger = tuple[Delivery, Message]


class Strangers:
    """Collects tasks of unknown kinds; `run` decides what becomes of them.

    Args:
        store: Knows which kinds live servers have handlers for.
        settlers: Where outcomes go, by queue.
        server: This server's id.
        grace: How long a task may wait while no live server knows its kind; 0: not at all.
        on_aside: Called with (queue, wait) when a task is set aside.
        on_given_up: Called with (queue, delivery, reason) to quarantine a task.
    """

    def __init__(
        self,
        store: Store,
        settlers: Mapping[str, Settler],
        *,
        server: str,
        grace: timedelta,
        on_aside: Callable[[str, timedelta], None],
        on_given_up: Callable[[str, Delivery, str], None],
    ) -> None:
        self._store, self._settlers, self._server = store, settlers, server
        self._grace_ms = to_ms(grace)
        self._on_aside, self._on_given_up = on_aside, on_given_up
        self._found: list[tuple[str, Stranger]] = []
        self._wake = asyncio.Event()
        self._told: dict[tuple[str, str], int] = {}
        self._log = structlog.get_logger("duly.engine")

    def __len__(self) -> int:
        """Return how many tasks are not decided on yet."""
        return len(self._found)

    def put(self, queue: str, delivery: Delivery, message: Message) -> None:
        """Take in a task that was read and is of no known kind."""
        if re.fullmatch(NAME_PATTERN, message.task_name):
            self._found.append((queue, (delivery, message)))
            self._wake.set()
        else:
            self._on_given_up(queue, delivery, "its kind is no name of a kind")

    def take(self) -> list[tuple[str, Delivery]]:
        """Give up what is not decided on yet, as (queue, delivery)."""
        found, self._found = self._found, []
        return [(queue, delivery) for queue, (delivery, _) in found]

    async def run(self) -> None:
        """Decide on what is put in, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            by_queue: defaultdict[str, list[Stranger]] = defaultdict(list)
            for queue, stranger in self._found:
                by_queue[queue].append(stranger)
            try:
                known = {
                    queue: await self._store.known(
                        queue, sorted({message.task_name for _, message in strangers})
                    )
                    for queue, strangers in by_queue.items()
                }
            except BrokerError:
                await asyncio.sleep(_PAUSE)
                self._wake.set()
                continue
            # What was put in meanwhile has a turn of its own.
            done = sum(map(len, by_queue.values()))
            self._found = self._found[done:]
            for queue, strangers in by_queue.items():
                for delivery, message in strangers:
                    self._decide(queue, delivery, message, message.task_name in known[queue])

    def _decide(self, queue: str, delivery: Delivery, message: Message, is_known: bool) -> None:  # noqa: FBT001
        now_ms = self._store.now_ms()
        since_ms = 0 if is_known else delivery.aside_since_ms or now_ms
        if not is_known:
            self._complain(queue, message.task_name, now_ms)
            if now_ms - since_ms >= self._grace_ms:
                self._on_given_up(queue, delivery, REASON)
                return
        wait_ms = _wait_ms(delivery.asides, _LONGEST_KNOWN_MS if is_known else _LONGEST_MS)
        if not is_known:
            wait_ms = min(wait_ms, since_ms + self._grace_ms - now_ms)
        first = since_ms > 0 and not delivery.aside_since_ms
        self._settlers[queue].settle(
            Settlement(
                entry=delivery.entry,
                id=message.task_id,
                kind="-",  # a stranger's kind is no name for a counter
                verdict="scheduled",
                in_ms=wait_ms,
                tries=tries_text(
                    delivery.attempts,
                    delivery.crashes,
                    delivery.excuses,
                    asides=delivery.asides + 1,
                    since_ms=since_ms,
                ),
                attempt=self._note(delivery, now_ms) if first else b"",
            )
        )
        self._on_aside(queue, timedelta(milliseconds=wait_ms))

    def _note(self, delivery: Delivery, now_ms: int) -> bytes:
        return encode_attempt(
            Attempt(
                number=delivery.attempts + 1,
                outcome=AttemptOutcome.SET_ASIDE,
                at=from_unix_ms(now_ms),
                server=self._server,
                error=REASON,
            )
        )

    def _complain(self, queue: str, kind: str, now_ms: int) -> None:
        """Say once a minute which kind nobody knows; strangers can not make the log grow."""
        last_ms = self._told.get((queue, kind))
        if last_ms is None and len(self._told) >= _MOST_TOLD:
            return
        if last_ms is None or now_ms - last_ms >= _COMPLAIN_EVERY_MS:
            self._told[queue, kind] = now_ms
            self._log.warning("No live worker knows a kind", queue=queue, kind=kind)


def _wait_ms(asides: int, longest_ms: int) -> int:
    """Return how long to set a task aside: twice as long each time, spread, within the limit."""
    wait_ms = min(_FIRST_MS << min(asides, _MOST_DOUBLINGS), longest_ms)
    return round(wait_ms * random.uniform(0.7, 1.0))  # noqa: S311 - no secret
