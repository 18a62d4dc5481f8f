"""One run of the soak: load and faults for a while, then rest, then the verdict."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from brokers import started
from judge import Verdict, judge
from load import QUEUES, Load
from nemesis import LEASE, TIMEOUT, Stage, carry_out, plan, staged
from resources import Resources

from duly import BrokerError, Client, DulyError, Inspector, TaskState
from duly.engine.inspection.figures import read_figures
from duly.engine.storage.store import Store
from duly.testing.history import read
from duly.testing.waiting import NotInTimeError, until

REST_SECONDS = 90.0
"""All that was accepted has come to an end by then: nothing is stuck."""
ON_ITS_WAY = (
    TaskState.WAITING,
    TaskState.ACTIVE,
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.AGGREGATING,
)


async def soak(
    folder: Path,
    *,
    shape: str = "single",
    seed: int,
    seconds: float,
    rate: float,
    say: Callable[[str], None],
) -> Verdict:
    """Soak for so long; return the verdict."""
    async with started(shape, folder / "broker") as broker:
        settings = broker.settings().model_copy(update={"timeout": TIMEOUT})
        async with (
            Client.connect(settings, create_queues=True) as client,
            Store.open(settings) as store,
            staged(folder, broker, settings) as stage,
        ):
            inspector = Inspector(store)
            await until(lambda: _arrived(inspector, stage), what="every worker lives")
            load, resources = Load(client, stage.history, seed=seed, rate=rate), Resources(stage)
            stop, ends = asyncio.Event(), monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(stop))
                group.create_task(_operate(inspector, load, stop, seed))
                group.create_task(resources.run(stop))
                for fault in plan(seed, stage.faults):
                    await asyncio.sleep(fault.after)
                    if monotonic() > ends:
                        break
                    say(f"{fault.name} {fault.which % 4}, {fault.lasts:.1f} s")
                    await carry_out(stage, fault)
                stop.set()
            say("rest")
            stopped = monotonic()
            with suppress(NotInTimeError):
                await until(lambda: _at_rest(store), timeout=REST_SECONDS)
            say(f"at rest after {monotonic() - stopped:.0f} s")
            events = read(folder / "history")
            found = judge(
                seed,
                events,
                load.promises,
                await _listed(inspector),
                faults=len(stage.done),
                losses=broker.losses,
            )
            await resources.look()
            found.add("grew", resources.grown())
            found.slopes = resources.slopes()
            if stories := found.stories(events):
                say(stories)
            return found


async def _arrived(inspector: Inspector, stage: Stage) -> bool:
    living = {server.pid for server in await inspector.servers.list()}
    return {child.process.pid for child in stage.workers} <= living


async def _operate(inspector: Inspector, load: Load, stop: asyncio.Event, seed: int) -> None:
    """Do what operators do: pause a queue for a moment, cancel what runs."""
    chance = random.Random(seed + 1)
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), chance.uniform(1.0, 4.0))
        queue = chance.choice(QUEUES)
        with suppress(DulyError):
            if chance.random() < 0.3:
                await inspector.queues.pause(queue)
                await asyncio.sleep(chance.uniform(0.1, LEASE))
            else:
                page = await inspector.tasks.list(queue, TaskState.ACTIVE, limit=1)
                for task in page.tasks:
                    if task.kind == "work" and "flow" not in task.labels:
                        load.promises.cancelled.add(task.id)
                        await inspector.tasks.cancel(queue, task.id)
        await _resumed(inspector, queue)


async def _resumed(inspector: Inspector, queue: str) -> None:
    async def resumed() -> bool:
        try:
            await inspector.queues.resume(queue)
        except BrokerError:
            return False
        return True

    await until(resumed, what=f"{queue} is resumed")


async def _at_rest(store: Store) -> bool:
    """Tell whether nothing is on its way any more.

    The counts of a queue are those of one instant: a task that moves on while states are listed one
    after another may be in none of them. It may move from queue to queue, hence the second look.
    """
    try:
        return await _empty(store) and await _empty(store)
    except BrokerError:
        return False


async def _empty(store: Store) -> bool:
    figures = await read_figures(store)
    counts = [
        [*(queue.tasks[state] for state in ON_ITS_WAY), queue.outbox, queue.joins]
        for queue in figures.queues.values()
    ]
    return not figures.unreadable and not any(map(any, counts))


async def _listed(inspector: Inspector) -> dict[str, str]:
    found = {}
    for queue in QUEUES:
        for state in TaskState:
            cursor = None
            while True:
                page = await inspector.tasks.list(queue, state, limit=500, cursor=cursor)
                found |= {
                    task.id: state.value for task in page.tasks if not task.id.startswith("soak@")
                }
                cursor = page.next_cursor
                if cursor is None:
                    break
    return found
