"""The gate before limited kinds: asks for many tasks at once, and gives their permits back."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from duly.engine import limits
from duly.engine.attempt import Running
from duly.engine.scripts import Asking, Limit
from duly.engine.store import Store
from duly.errors import BrokerError

_PAUSE = 0.2
_TRIES = 5
_Group = tuple[str, str]
"""Queue and kind."""


class Gate:
    """Lets tasks of limited kinds through as their limits allow.

    A task that may not run is set aside in the broker, where it holds no slot of any server. It
    is woken when another one gives its permit back, or is due when its token is.

    Args:
        store: Where permits and tokens are.
        on_aside: Called with (queue, wait) when a task was set aside.
    """

    def __init__(self, store: Store, *, on_aside: Callable[[str, timedelta], None]) -> None:
        self._store, self._on_aside = store, on_aside
        self._asking: defaultdict[
            tuple[_Group, Limit], list[tuple[Running, asyncio.Future[int]]]
        ] = defaultdict(list)
        self.holding: dict[tuple[str, bytes], _Group] = {}
        """Entries of queues that hold a permit until their outcome is written."""
        self._errands: set[asyncio.Task[None]] = set()

    async def lets(self, running: Running, limit: Limit) -> bool:
        """Return whether a task may run now; if not, this server has it no more.

        It waits for as long as the broker is away.
        """
        group = running.queue, running.context.kind
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        together = self._asking[group, limit]
        together.append((running, answer))
        if len(together) == 1:
            self._spawn(self._ask(group, limit))
        if limit.most:
            # From now on: whatever becomes of it, the permit it may have got is given back.
            self.holding[running.queue, running.delivery.entry] = group
        wait_ms = await answer
        if wait_ms:
            self.holding.pop((running.queue, running.delivery.entry), None)
        if wait_ms > 0:
            self._on_aside(running.queue, timedelta(milliseconds=wait_ms))
        return not wait_ms

    def settled(self, queue: str, entries: Iterable[bytes]) -> None:
        """Give back the permits of tasks whose outcome is written, or that were handed back."""
        free: defaultdict[_Group, list[bytes]] = defaultdict(list)
        for entry in entries:
            group = self.holding.pop((queue, entry), None)
            if group is not None:
                free[group].append(entry)
        for group, given in free.items():
            self._spawn(self._give_back(group, given))

    async def close(self) -> None:
        """Wait until everything is given back."""
        while self._errands:
            await asyncio.wait(set(self._errands))

    async def _ask(self, group: _Group, limit: Limit) -> None:
        # What is launched in one go asks in one go.
        await asyncio.sleep(0)
        asking = self._asking.pop((group, limit))
        tasks = [_asking(running) for running, _ in asking]
        while not all(answer.done() for _, answer in asking):
            try:
                found = await limits.ask(self._store, *group, limit, tasks)
            except BrokerError:
                await asyncio.sleep(_PAUSE)
                continue
            for (_, answer), wait_ms in zip(asking, found, strict=True):
                if not answer.done():
                    answer.set_result(wait_ms)

    async def _give_back(self, group: _Group, entries: list[bytes]) -> None:
        """Wake others; where the broker stays away, they come back by themselves after a while."""
        for _ in range(_TRIES):
            try:
                await limits.give_back(self._store, *group, entries)
            except BrokerError:
                await asyncio.sleep(_PAUSE)
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def _asking(running: Running) -> Asking:
    delivery = running.delivery
    return Asking(
        delivery.entry,
        running.message.task_id,
        delivery.tries,
        delivery.tries_with_token,
        delivery.has_token,
    )
