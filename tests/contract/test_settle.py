"""settle.lua: an attempt that did not simply succeed moves its task in one step, once."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from duly.engine.storage.attempts import attempts_of
from duly.engine.storage.scripts import ATTEMPTS_KEPT, NewTask, Settlement
from duly.engine.storage.store import Store
from duly.errors import BrokerError


def line(number):
    return b'{"number":%d,"outcome":"failed","at":1767614400000}' % number


@pytest.mark.parametrize(
    ("verdict", "score"),
    [
        ("retry", 5_000),
        ("scheduled", 5_000),
        ("archived", 0),
        ("completed", 5_000),
        ("quarantined", 0),
    ],
)
async def test_a_task_goes_where_the_verdict_says(lane, verdict, score):
    stream_id = await lane.active()
    payload = (await lane.stream())[stream_id][b"data"]

    assert (
        await lane.end(stream_id, destination=verdict, in_ms=5_000, outcomes="processed,failed")
        == []
    )

    assert await lane.places() == {"one": verdict}
    assert await lane.stream() == {}
    assert await lane.score(verdict) == lane.now + score
    assert await lane.map("records") == {"one": payload}
    assert await lane.map("tries") == {"one": b"1 0"}
    assert await lane.counts() == {"greet:processed": 1, "greet:failed": 1}


async def test_a_dropped_task_leaves_nothing(lane):
    stream_id = await lane.active(lock="digest")

    await lane.end(
        stream_id, destination="dropped", attempt=b"", lock="digest", outcomes="processed"
    )

    assert await lane.places() == {}
    assert await lane.map("locks") == {}


async def test_a_task_given_back_waits_again_with_its_tries(lane):
    stream_id = await lane.active(lock="digest")

    await lane.end(stream_id, destination="waiting", tries="2 1", attempt=b"")

    assert await lane.places() == {"one": "waiting"}
    (again,) = await lane.claim()
    assert (again.attempts, again.crashes) == (2, 1)


@pytest.mark.parametrize("verdict", ["retry", "scheduled"])
async def test_a_task_that_goes_on_may_get_another_message(lane, verdict):
    stream_id = await lane.active()

    await lane.end(stream_id, destination=verdict, in_ms=9, data=b"another")

    assert await lane.map("records") == {"one": b"another"}


async def test_a_task_that_waits_anew_may_get_another_message(lane):
    stream_id = await lane.active()

    await lane.end(stream_id, destination="waiting", attempt=b"", data=b"another")

    (entry,) = (await lane.stream()).values()
    assert entry[b"data"] == b"another"


async def test_a_completed_task_keeps_its_result(lane):
    stream_id = await lane.active()

    await lane.end(stream_id, destination="completed", in_ms=9, attempt=b"", result=b'"done"')

    assert await lane.map("results") == {"one": b'"done"'}
    await lane.places()


@pytest.mark.parametrize("verdict", ["archived", "completed", "quarantined", "dropped"])
async def test_the_lock_is_freed_when_a_task_is_at_its_end(lane, verdict):
    stream_id = await lane.active(lock="digest")

    await lane.end(stream_id, destination=verdict, lock="digest")

    assert await lane.map("locks") == {}
    await lane.places()


@pytest.mark.parametrize("verdict", ["retry", "waiting", "scheduled"])
async def test_the_lock_is_kept_while_a_task_is_under_way(lane, verdict):
    stream_id = await lane.active(lock="digest")

    await lane.end(stream_id, destination=verdict, in_ms=1, lock="digest")

    assert set(await lane.map("locks")) == {"digest"}
    await lane.places()


async def test_the_lock_of_another_task_is_not_freed(lane):
    mine = await lane.active()
    await lane.active("two", "bob", lock="digest")

    await lane.end(mine, lock="digest")

    assert set(await lane.map("locks")) == {"digest"}


async def test_history_is_newest_first_and_bounded(lane):
    await lane.add("one")
    for number in range(1, ATTEMPTS_KEPT + 6):
        (delivery,) = await lane.claim()
        await lane.end(
            delivery.stream_id, destination="retry", attempt=line(number), tries=f"{number} 0"
        )
        await lane.move()

    numbers = [attempt.number for attempt in attempts_of((await lane.map("history"))["one"])]

    assert numbers == list(range(ATTEMPTS_KEPT + 5, 5, -1))
    assert await lane.places() == {"one": "waiting"}


async def test_a_late_outcome_after_a_reap_is_refused_and_changes_nothing(lane):
    await lane.beat()
    stream_id = await lane.active()
    lane.now += 10_000
    await lane.reap()
    before = await lane.counts()

    assert await lane.end(stream_id, outcomes="processed,failed") == [stream_id]

    assert await lane.places() == {"one": "waiting"}
    assert await lane.counts() == before


async def test_a_repeated_outcome_is_refused_and_changes_nothing(lane):
    """asynq X1 repeats a write whose answer was lost: it must do nothing the second time."""
    stream_id = await lane.active()
    await lane.end(stream_id, destination="retry", in_ms=5, outcomes="failed")
    history = await lane.map("history")

    assert await lane.end(stream_id, destination="archived", outcomes="failed") == [stream_id]

    assert await lane.places() == {"one": "retry"}
    assert await lane.map("history") == history
    assert await lane.counts() == {"greet:failed": 1}


async def test_a_batch_has_verdicts_of_its_own(lane):
    stream_ids = {name: await lane.active(name) for name in ("retry", "archived", "dropped")}

    refused = await lane.settle(
        *(
            Settlement(stream_id=stream_id, id=name, kind="greet", destination=name, in_ms=1)
            for name, stream_id in stream_ids.items()
        ),
        Settlement(stream_id=b"1-1", id="ghost", kind="greet", destination="archived"),
    )

    assert refused == [b"1-1"]
    assert await lane.places() == {"retry": "retry", "archived": "archived"}


async def test_a_foreign_task_of_the_same_id_is_kept_beside_ours(lane):
    await lane.add("one")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"strange")
    ours, strangers = await lane.claim()

    await lane.end(strangers.stream_id, "one", lock="digest")

    other = f"one#{strangers.stream_id.decode()}"
    assert await lane.places() == {"one": "active", other: "archived"}
    assert (await lane.map("records"))[other] == b"strange"
    assert await lane.end(ours.stream_id, "one") == []
    assert await lane.places() == {"one": "archived", other: "archived"}


async def test_an_entry_without_data_is_kept_as_it_is(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "odd", b"\xff")
    (delivery,) = await lane.claim()

    await lane.end(
        delivery.stream_id, delivery.stream_id.decode(), destination="quarantined", kind="-"
    )

    assert await lane.places() == {delivery.stream_id.decode(): "quarantined"}
    assert b"\xff" in next(iter((await lane.map("records")).values()))


async def test_a_task_whose_entry_was_deleted_by_hand_does_not_block_its_id(lane):
    stream_id = await lane.active(lock="digest")
    await lane.command("XDEL", lane.keys.stream, stream_id)

    assert await lane.end(stream_id, destination="retry", lock="digest") == [stream_id]

    assert await lane.command("HLEN", lane.keys.index) == 0
    assert await lane.map("locks") == {}
    assert await lane.add("one") == [1]


@pytest.mark.parametrize("verdict", ["archived", "finish", "operate"])
async def test_a_foreign_lock_blocks_nobody(lane, verdict):
    """A lock without an end or an owner; the sweep drops it some time later."""
    stream_id = await lane.active()
    await lane.command("HSET", lane.keys.locks, "digest", "99999999999999")

    if verdict == "finish":
        assert await lane.finish((stream_id, "one"), locks=["digest"]) == []
    else:
        assert await lane.end(stream_id, lock="digest") == []
    if verdict == "operate":
        assert await lane.operate("delete", lock="digest") == "ok"

    new = NewTask(id="two", data=b"{}", lock="digest", lock_ttl_ms=1_000)
    assert await lane.add(new) == [1]


@pytest.mark.parametrize("denied", ["hset", "zadd"])
@pytest.mark.parametrize("verdict", ["retry", "archived", "completed", "quarantined", "scheduled"])
async def test_a_task_is_still_there_when_a_command_was_denied_on_the_way(
    lane, each_broker, denied, verdict
):
    """A user's rights may change at any time, and what a script has done is not undone."""
    stream_id = await lane.active()
    rights = ("ACL", "SETUSER", "narrow", "on", ">narrow", "~*", "&*", "+@all")
    await lane.command(*rights, f"-{denied}")
    narrow = each_broker.model_copy(
        update={"username": "narrow", "password": SecretStr("narrow"), "url": None}
    )
    try:
        async with Store.open(narrow) as store:
            own = replace(lane, store=store)
            with pytest.raises(BrokerError):
                await own.end(stream_id, destination=verdict, in_ms=5_000)
            assert list(await lane.pending()) == [stream_id]
            await lane.command(*rights)

            assert await own.end(stream_id, destination=verdict, in_ms=5_000) == []
    finally:
        await lane.command("ACL", "DELUSER", "narrow")

    assert await lane.places() == {"one": verdict}
