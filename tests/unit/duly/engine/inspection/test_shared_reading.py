"""One reading for all who ask at about the same time."""

import asyncio

import pytest

from duly.engine.inspection import shared_reading
from duly.engine.inspection.shared_reading import SharedReading
from duly.errors import BrokerDownError


class Source:
    """Counts readings; each ends when it is let go."""

    def __init__(self):
        self.begun = 0
        self.go = asyncio.Event()
        self.fails = False

    async def read(self, question):
        self.begun += 1
        number = self.begun
        await self.go.wait()
        if self.fails:
            raise BrokerDownError("here")
        return f"{question} {number}"


async def test_who_asks_meanwhile_and_soon_after_gets_the_same():
    source = Source()
    reading = SharedReading(source.read)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(reading.get("a")) for _ in range(5)]
        asked.append(group.create_task(reading.get("b")))
        source.go.set()

    assert [task.result() for task in asked] == [*["a 1"] * 5, "b 2"]
    assert await reading.get("a") == "a 1"


async def test_after_a_while_it_is_read_anew(monkeypatch):
    monkeypatch.setattr(shared_reading, "KEPT_SECONDS", 0)
    monkeypatch.setattr(shared_reading, "_SHARE", 0)
    source = Source()
    source.go.set()
    reading = SharedReading(source.read)

    assert [await reading.get("a") for _ in range(2)] == ["a 1", "a 2"]


async def test_what_was_forgotten_meanwhile_is_not_kept(until):
    source = Source()
    reading = SharedReading(source.read)
    async with asyncio.TaskGroup() as group:
        before = group.create_task(reading.get("a"))
        await until(lambda: source.begun == 1)
        reading.forget()
        after = group.create_task(reading.get("a"))
        await until(lambda: source.begun == 2)
        source.go.set()

    assert (before.result(), after.result()) == ("a 1", "a 2")
    assert await reading.get("a") == "a 2"


async def test_one_who_goes_away_takes_the_answer_from_nobody(until):
    source = Source()
    reading = SharedReading(source.read)
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(reading.get("a"))
        stays = group.create_task(reading.get("a"))
        await until(lambda: source.begun == 1)
        gone.cancel()
        source.go.set()

    assert stays.result() == "a 1"


async def test_a_failure_is_told_and_not_kept():
    source = Source()
    source.go.set()
    source.fails = True
    reading = SharedReading(source.read)

    with pytest.raises(BrokerDownError):
        await reading.get("a")
    source.fails = False

    assert await reading.get("a") == "a 2"


async def test_only_so_many_answers_are_kept():
    source = Source()
    source.go.set()
    reading = SharedReading(source.read)
    for number in range(200):
        await reading.get(number)

    assert len(reading._kept) == 64
