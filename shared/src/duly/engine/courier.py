"""The courier: brings what lies in a queue's outbox to the queues that it is for."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import structlog

from duly.engine import scripts
from duly.engine.keys import queue_keys
from duly.engine.replies import text_map
from duly.engine.scripts import Successor
from duly.engine.store import Store
from duly.errors import BrokerError
from duly.flow import MOST_MEMBERS
from duly.job import NAME_PATTERN

_BATCH = 100
_WHAT = {b"task", b"join", b"arrive"}
_FIELDS = ("what", "join", "number", "id", "data", "due", "delay", "lock", "lock-ms")
_NUMBERS = ("number", "due", "delay", "lock-ms")
_MOST_DIGITS = 16
_MOST_TURNS = 20
"""Of a client: what is in the outbox beside its own letters is not its business."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One entry of an outbox."""

    entry: bytes
    queue: str
    """Whom it is for; "": it is not ours."""
    fields: tuple[bytes, ...]


class Courier:
    """Delivers in the order of the outbox, and takes out what has arrived.

    Any number of couriers may serve an outbox: the receiving queue remembers what it was brought,
    so that nothing arrives twice when one is killed between the two steps.
    """

    def __init__(
        self, store: Store, queue: str, *, every: timedelta = timedelta(seconds=1)
    ) -> None:
        self._store, self._queue, self._every = store, queue, every
        self._log = structlog.get_logger("duly.engine")

    async def turn(self) -> timedelta:
        """Deliver one batch; return how long to rest, zero while there is more."""
        outbox = queue_keys(self._queue).outbox
        # The broker's own time: this machine's clock may be off, and a client hears no heartbeats.
        (seconds, _), found = await self._store.connection.many(
            [("TIME",), ("XRANGE", outbox, "-", "+", "COUNT", _BATCH)]
        )
        read_ms = int(seconds) * 1000
        letters = [_letter(entry, text_map(fields)) for entry, fields in found]
        for queue, group in groupby(letters, key=lambda letter: letter.queue):
            part = list(group)
            if not queue:
                self._log.error("Outbox held what is not ours, dropped", queue=self._queue)
            elif not await self._deliver(queue, part, read_ms):
                return timedelta(0)
            await self._store.connection.command("XDEL", outbox, *(item.entry for item in part))
        return timedelta(0) if len(found) == _BATCH else self._every

    async def _deliver(self, queue: str, letters: Sequence[Letter], read_ms: int) -> bool:
        """Bring a queue its letters; False when they have been under way for too long."""
        items = ((f"{self._queue}/{letter.entry.decode()}", letter.fields) for letter in letters)
        keys = await self._store.register(queue)
        refused = int(await self._store.run(scripts.deliver(keys, items, read_ms=read_ms)))
        if refused > 0:
            self._log.warning(
                "Successors left out: id or lock taken", queue=queue, successors=refused
            )
        return refused >= 0


def _letter(entry: bytes, named: dict[str, bytes]) -> Letter:
    """Read a letter; what a stranger has put there is for no queue."""
    queue = named.get("queue", b"").decode(errors="replace")
    whole = all(name in named for name in _FIELDS) and all(
        named[name].isdigit() and len(named[name]) < _MOST_DIGITS for name in _NUMBERS
    )
    if not whole or named["what"] not in _WHAT or not re.fullmatch(NAME_PATTERN, queue):
        return Letter(entry, "", ())
    if int(named["number"]) > MOST_MEMBERS:
        return Letter(entry, "", ())  # the script takes a step for each member
    return Letter(entry, queue, tuple(named[name] for name in _FIELDS))


async def launch(store: Store, successors: Sequence[Successor]) -> None:
    """Put what a client begins into an outbox, whole, and deliver it.

    Raises:
        BrokerDownError: It is not known whether it was accepted.
    """
    home = successors[0].queue
    keys = await store.register(home)
    await store.run(scripts.post(keys, successors))
    # Accepted: what does not arrive now, the queue's servers or a scheduler deliver.
    courier = Courier(store, home)
    with suppress(BrokerError):
        for _ in range(_MOST_TURNS):
            if await courier.turn():
                break
