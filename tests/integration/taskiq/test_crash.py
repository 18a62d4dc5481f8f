"""kill -9 of `taskiq worker` loses nothing that a `DulyBroker` has accepted."""

import pytest

DULY_RECEIVER = ("--receiver", "duly:DulyReceiver")
TASKS = """
import asyncio
import os
from pathlib import Path

from shop.broker import broker, note


@broker.task
async def work(number: int) -> int:
    note("begun", os.getppid(), number)
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    note("done", number)
    return number
"""
SEND = """
import asyncio
import json

from shop.broker import broker
from crash import work


async def main():
    async with broker:
        print(json.dumps([(await work.kiq(number)).task_id for number in range(30)]))


asyncio.run(main())
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("receiver", [(), DULY_RECEIVER], ids=["taskiq's", "duly's"])
async def test_a_killed_worker_loses_nothing(shop, until, receiver):
    shop.move()
    shop.write("crash.py", TASKS)
    shop.write("send.py", SEND)
    first = shop.worker(*receiver, "--max-async-tasks", "10", modules=["crash"])
    sent = shop.run("send.py")
    await until(lambda: len(begun(shop)) == 10, what="ten tasks run")

    shop.kill(first)
    (shop.folder / "go").touch()
    shop.worker(*receiver, modules=["crash"])

    await until(lambda: len(done(shop)) == len(sent), what="all are done")
    assert sorted(done(shop)) == list(range(30))


def begun(shop):
    return [line[2] for line in shop.lines() if line[0] == "begun"]


def done(shop):
    return [line[1] for line in shop.lines() if line[0] == "done"]
