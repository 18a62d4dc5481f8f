"""A user's rights may change at any time, and what a script has done is not undone."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pydantic import SecretStr

from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store
from duly.errors import BrokerError


@pytest.fixture
async def denied(lane, each_broker):
    """Return a context manager: the lane as a user sees it who may not run a command."""

    @asynccontextmanager
    async def deny(command):
        await lane.command(
            "ACL", "SETUSER", "narrow", "on", ">narrow", "~*", "&*", "+@all", f"-{command}"
        )
        update = {"username": "narrow", "password": SecretStr("narrow"), "url": None}
        try:
            async with Store.open(each_broker.model_copy(update=update)) as store:
                yield replace(lane, store=store)
        finally:
            await lane.command("ACL", "DELUSER", "narrow")

    return deny


@pytest.mark.parametrize("command", ["xadd", "hset", "hdel", "zrem"])
async def test_what_is_due_is_promoted_once_the_user_may(lane, denied, command):
    for name in ("one", "two"):
        await lane.add(NewTask(id=name, data=lane.message(name), due_ms=lane.now + 1))
    lane.now += 1

    async with denied(command) as narrow:
        with pytest.raises(BrokerError):
            await narrow.move()
    assert await lane.places() == {"one": "scheduled", "two": "scheduled"}

    assert await lane.move() == [2, -1]
    assert await lane.places() == {"one": "waiting", "two": "waiting"}


@pytest.mark.parametrize("command", ["xdel", "hdel", "xack"])
async def test_a_success_is_settled_once_the_user_may(lane, denied, command):
    held = [(await lane.active(name), name) for name in ("one", "two")]

    async with denied(command) as narrow:
        with pytest.raises(BrokerError):
            await narrow.finish(*held)

    await lane.finish(*held)
    assert await lane.places() == {}
    assert await lane.stream() == {}
    assert await lane.pending() == {}
