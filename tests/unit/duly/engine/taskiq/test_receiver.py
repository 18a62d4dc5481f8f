"""duly's receiver in `taskiq worker`: what the command line can ask of it."""

import asyncio
from concurrent.futures import ProcessPoolExecutor

import pytest
from taskiq import InMemoryBroker

from duly import ConfigError, DulyBroker, DulyReceiver


async def test_it_ends_after_as_many_tasks_as_the_process_may_run(broker):
    ran = []

    @broker.task
    async def work(number: int) -> None:
        ran.append(number)

    for number in range(5):
        await work.kiq(number)
    left = []
    receiver = DulyReceiver(broker, max_async_tasks=1, max_tasks_to_execute=3, on_exit=left.append)
    await asyncio.wait_for(receiver.listen(asyncio.Event()), 60)

    assert ran == [0, 1, 2]
    assert left == [receiver]


async def test_the_annotations_can_be_left_alone(broker, by_receiver):
    @broker.task
    async def show(number: int):
        return f"{number!r}"

    async with by_receiver(broker, validate_params=False):
        sent = await show.kiq("7")
        assert (await sent.wait_result(timeout=60)).return_value == "'7'"


def test_it_runs_the_tasks_of_no_other_broker():
    with pytest.raises(ConfigError, match="not of a InMemoryBroker"):
        DulyReceiver(InMemoryBroker())


def test_it_has_no_pool_of_processes(broker_settings):
    broker = DulyBroker(broker_settings)
    with ProcessPoolExecutor(1) as pool, pytest.raises(ConfigError, match="--use-process-pool"):
        DulyReceiver(broker, pool)
