"""acquire_permits.lua, release_permits.lua: so many tasks of a kind run at once, so often."""

import pytest

from duly.engine.storage.delivery import tries_text
from duly.engine.storage.keys import GROUP
from duly.engine.storage.scripts import Limit, NewTask

REST = 15_000
TEN_A_SECOND = 100_000


async def taken(lane, *ids, server="alice"):
    """Add tasks and take them; return id → stream_id."""
    await lane.add(*ids)
    return {
        task_id: delivery.stream_id
        for task_id, delivery in zip(ids, await lane.claim(server, len(ids)), strict=True)
    }


async def test_beyond_the_limit_tasks_are_deferred(any_lane):
    lane = any_lane
    held = await taken(lane, "one", "two", "three")

    assert await lane.permit(held, Limit(2)) == [0, 0, REST]

    assert await lane.places() == {"one": "active", "two": "active", "three": "scheduled"}
    assert await lane.score("scheduled", "three") == lane.now + REST


async def end_by_finish(lane, stream_id):
    await lane.finish((stream_id, "one"))


async def end_by_settle(lane, stream_id):
    await lane.end(stream_id, destination="retry", in_ms=60_000)


async def end_by_requeue(lane, stream_id):
    await lane.requeue((stream_id, "one"))


async def end_by_reap(lane, _):
    await lane.beat()
    lane.now += 10_000
    assert (await lane.reap())[0] == 1


@pytest.mark.parametrize("end", [end_by_finish, end_by_settle, end_by_requeue, end_by_reap])
async def test_a_permit_is_free_however_its_task_ended(lane, end):
    held = await taken(lane, "one")
    assert await lane.permit(held, Limit(1)) == [0]
    await end(lane, held["one"])
    await lane.add("two")
    late = next(found for found in await lane.claim("bob") if b'"two"' in found.data)

    assert await lane.permit({"two": late.stream_id}, Limit(1)) == [0]


async def test_of_a_live_server_no_permit_is_taken_away(lane):
    await lane.beat()
    await lane.permit(await taken(lane, "one"), Limit(1))
    lane.now += 3_600_000
    await lane.beat()

    assert await lane.permit(await taken(lane, "two", server="bob"), Limit(1)) == [REST]


async def test_the_longest_parked_wakes_when_a_permit_is_given_back(any_lane):
    lane = any_lane
    held = await taken(lane, "one", "two", "three")
    await lane.permit(held, Limit(1))
    await lane.finish((held["one"], "one"))

    assert await lane.wake(1, held["one"]) == 1

    assert await lane.places() == {"two": "waiting", "three": "scheduled"}


async def test_without_a_word_the_free_permits_are_counted(lane):
    held = await taken(lane, "one", "two", "three", "four")
    await lane.permit(held, Limit(2))
    await lane.finish((held["one"], "one"))

    assert await lane.wake(100) == 1

    assert await lane.places() == {"two": "active", "three": "waiting", "four": "scheduled"}


async def test_a_woken_task_keeps_its_tries(lane):
    held = await taken(lane, "one", "two")
    await lane.permit(held, Limit(1), tries="2 1")
    await lane.finish((held["one"], "one"))
    await lane.wake(1)

    (again,) = await lane.claim()

    assert (again.attempts, again.crashes, again.has_token) == (2, 1, False)


@pytest.mark.parametrize("operation", ["run", "delete", "archive"])
async def test_what_an_operator_took_is_not_woken(lane, operation):
    held = await taken(lane, "one", "two", "three")
    await lane.permit(held, Limit(1))
    await lane.operate(operation, "two")
    before = (await lane.places()).get("two")
    await lane.finish((held["one"], "one"))

    assert await lane.wake(100) == 1

    places = await lane.places()
    assert places.get("two") == before
    assert places["three"] == "waiting"


async def test_a_task_of_the_same_id_that_came_later_is_not_woken(lane):
    held = await taken(lane, "one", "two")
    await lane.permit(held, Limit(1))
    await lane.operate("delete", "two")
    await lane.add(NewTask(id="two", data=lane.message("two"), due_ms=lane.now + 60_000))
    await lane.finish((held["one"], "one"))

    assert await lane.wake(100) == 0
    assert await lane.places() == {"two": "scheduled"}


async def test_a_wake_that_was_missed_is_made_up_for_by_time(lane):
    held = await taken(lane, "one", "two")
    await lane.permit(held, Limit(1))
    await lane.finish((held["one"], "one"))
    lane.now += REST

    await lane.move()
    (again,) = await lane.claim()

    assert await lane.permit({"two": again.stream_id}, Limit(1)) == [0]


async def test_a_crowd_comes_back_ever_later(lane):
    held = await taken(lane, *(str(number) for number in range(100)))

    answers = await lane.permit(held, Limit(1))

    assert answers == [0, *(REST + 10 * number for number in range(99))]


async def test_asking_again_changes_nothing(lane):
    held = await taken(lane, "one", "two", "three")
    assert await lane.permit(held, Limit(2)) == [0, 0, REST]

    assert await lane.permit(held, Limit(2)) == [0, 0, -1]

    assert await lane.places() == {"one": "active", "two": "active", "three": "scheduled"}


async def test_a_server_that_lost_its_lease_gets_no_permit(lane):
    await lane.beat()
    held = await taken(lane, "one")
    lane.now += 10_000
    await lane.reap()

    assert await lane.permit(held, Limit(1)) == [-1]
    assert await lane.permit(held, Limit(0, TEN_A_SECOND)) == [-1]
    assert await lane.places() == {"one": "waiting"}


async def test_kinds_do_not_share_permits(lane):
    assert await lane.permit(await taken(lane, "one"), Limit(1), kind="greet") == [0]
    assert await lane.permit(await taken(lane, "two"), Limit(1), kind="bow") == [0]


async def test_with_a_higher_limit_more_run_at_once(lane):
    held = await taken(lane, "one", "two", "three")
    await lane.permit(held, Limit(1))

    assert await lane.permit(await taken(lane, "four"), Limit(3)) == [0]
    assert await lane.wake(100) == 1


async def test_tasks_beyond_the_rate_are_due_when_their_token_is(any_lane):
    lane = any_lane
    held = await taken(lane, "a", "b", "c", "d", "e")

    assert await lane.permit(held, Limit(0, TEN_A_SECOND, 2)) == [0, 0, 100, 200, 300]

    assert await lane.score("scheduled", "d") == lane.now + 200
    lane.now += 200
    assert await lane.move() == [2, 100]
    again = {delivery.stream_id: delivery for delivery in await lane.claim()}
    assert all(delivery.has_token for delivery in again.values())
    back = dict(zip(("c", "d"), again, strict=True))
    assert await lane.permit(back, Limit(0, TEN_A_SECOND, 2), has_token=True) == [0, 0]


async def test_tokens_come_back_with_time_and_no_more_than_the_burst(lane):
    limit = Limit(0, TEN_A_SECOND, 2)
    await lane.permit(await taken(lane, "a", "b", "c"), limit)
    lane.now += 200

    assert await lane.permit(await taken(lane, "d"), limit) == [0]
    lane.now += 3_600_000
    assert await lane.permit(await taken(lane, "e", "f", "g"), limit) == [0, 0, 100]


async def test_any_stretch_of_time_has_no_more_than_the_rate_and_a_burst(lane):
    limit, begun = Limit(0, 333_334, 3), []
    for number in range(40):
        held = await taken(lane, f"{number}a", f"{number}b")
        begun += [lane.now + wait for wait in await lane.permit(held, limit)]
        lane.now += 170

    begun.sort()
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            seconds = (begun[last] - begun[first]) / 1000
            assert last - first + 1 <= 3 + seconds * 3 + 0.01


async def test_a_clock_that_was_ahead_and_returned_keeps_no_kind_waiting(lane):
    limit = Limit(0, TEN_A_SECOND, 2)
    lane.now += 3_600_000
    assert await lane.permit(await taken(lane, "a", "b"), limit) == [0, 0]
    lane.now -= 3_600_000

    assert await lane.permit(await taken(lane, "c", "d"), limit) == [100, 200]


@pytest.mark.parametrize("operation", ["delete", "archive", "run"])
async def test_tokens_of_tasks_that_an_operator_took_go_to_others(lane, operation):
    limit = Limit(0, TEN_A_SECOND, 2)
    held = await taken(lane, "a", "b", "c", "d", "e")
    assert await lane.permit(held, limit) == [0, 0, 100, 200, 300]
    for task_id in ("d", "e"):
        assert await lane.operate(operation, task_id) == "ok"
    await lane.claim()

    late = await taken(lane, "f")

    assert await lane.permit(late, limit) == [200]


async def test_a_task_without_a_permit_keeps_its_token_and_takes_none(lane):
    limit = Limit(1, TEN_A_SECOND, 1)
    held = await taken(lane, "one", "two")
    assert await lane.permit(held, limit) == [0, REST]
    lane.now += 100
    await lane.finish((held["one"], "one"))
    assert await lane.wake(1) == 1
    (again,) = await lane.claim()
    assert not again.has_token

    assert await lane.permit({"two": again.stream_id}, limit) == [0]
    late = await taken(lane, "three")
    assert await lane.permit(late, limit, has_token=True) == [REST]
    await lane.finish((again.stream_id, "two"))
    await lane.wake(1)
    (again,) = await lane.claim()
    assert again.has_token


async def test_who_gives_a_task_back_says_whether_a_start_has_spent_its_token(any_lane):
    lane, limit = any_lane, Limit(0, TEN_A_SECOND, 1)
    held = await taken(lane, "one")
    assert await lane.permit(held, limit) == [0]
    await lane.requeue((held["one"], "one", tries_text(0, 0, has_token=True)))

    (again,) = await lane.claim("bob")
    assert again.has_token, "it has not begun"
    assert await lane.permit({"one": again.stream_id}, limit, has_token=True) == [0]
    await lane.requeue((again.stream_id, "one", "0 0"))
    (begun,) = await lane.claim()
    assert not begun.has_token, "it had begun"
    assert await lane.permit({"one": begun.stream_id}, limit) == [100]


async def test_a_foreign_task_of_the_same_id_is_deferred_beside_ours(lane):
    await lane.add("one")
    await lane.command("XADD", lane.keys.stream, "*", "data", lane.message("one"))
    ours, strangers = await lane.claim()

    assert await lane.permit({"one": ours.stream_id}, Limit(1)) == [0]
    assert await lane.permit({"one": strangers.stream_id}, Limit(1)) == [REST]

    other = f"one#{strangers.stream_id.decode()}"
    assert await lane.places() == {"one": "active", other: "scheduled"}

    await lane.finish((ours.stream_id, "one"))
    assert await lane.wake(1) == 1
    assert await lane.places() == {"one": "waiting"}


async def test_a_member_that_an_operator_ran_does_not_join_its_group_again(lane):
    labels = {"group": ["greet:a", 1_000, 0, 5]}
    data = lane.message("two", **labels)
    await lane.gather(NewTask(id="two", data=data, group=tuple(labels["group"])))
    await lane.operate("run", "two")
    first = await lane.active()
    held = {d: e for e, d in [(first, "one")]}
    assert await lane.permit(held, Limit(1)) == [0]
    (run,) = [
        stream_id for stream_id, fields in (await lane.stream()).items() if fields[b"data"] == data
    ]

    assert await lane.permit({"two": run}, Limit(1)) == [REST]
    lane.now += REST
    await lane.move()

    assert await lane.places() == {"one": "active", "two": "waiting"}


@pytest.mark.parametrize("count", [201, 450])
async def test_as_many_tasks_are_woken_as_permits_are_released(lane, count):
    running = await taken(lane, *(f"r{number}" for number in range(count)))
    assert await lane.permit(running, Limit(count)) == [0] * count
    waiting = await taken(lane, *(f"w{number}" for number in range(count)))
    assert 0 not in await lane.permit(waiting, Limit(count))

    await lane.finish(*((stream_id, task_id) for task_id, stream_id in running.items()))

    assert await lane.wake(count, *running.values()) == count
    woken = {f"w{number}" for number in range(count)}
    assert {
        task_id for task_id, state in (await lane.places()).items() if state == "waiting"
    } == woken


@pytest.mark.parametrize("rate", ["abc", "", "nan", "-nan", "inf", "-inf", "1e300", b"\xff"])
@pytest.mark.parametrize("far_future", [False, True])
async def test_a_foreign_rate_neither_stops_a_kind_nor_lifts_its_limit(lane, rate, far_future):
    held = await taken(lane, "a", "b", "c")
    await lane.command("HSET", lane.keys.limits, "greet:rate", rate)
    if far_future:
        await lane.command("HSET", lane.keys.index, "x", "scheduled")
        await lane.command("ZADD", lane.keys.scheduled, "+inf", "x")

    assert await lane.permit(held, Limit(0, TEN_A_SECOND, 2)) == [0, 0, 100]

    assert float((await lane.map("limits"))["greet:rate"]) == lane.now + 300


async def test_foreign_permits_are_nobodys(lane):
    junk = [b"\xff", "zz", "", "1", "1-", "-", "9" * 30 + "-1", "1-1-1"]
    pairs = [part for name in junk for part in (1, name)]
    await lane.command("ZADD", lane.keys.permits("greet"), *pairs)
    held = await taken(lane, "one", "two")

    assert await lane.permit(held, Limit(1)) == [0, REST]

    await lane.command("ZADD", lane.keys.permits("greet"), *pairs)
    await lane.finish((held["one"], "one"))
    assert await lane.wake(1, held["one"]) == 1
    assert await lane.command("ZCARD", lane.keys.permits("greet")) == 0


async def test_a_group_that_is_gone_is_no_foreign_permit(lane):
    await lane.permit(await taken(lane, "one"), Limit(1))
    await lane.command("XGROUP", "DESTROY", lane.keys.stream, GROUP)

    assert await lane.permit({"two": b"1-1"}, Limit(1)) == [-1]

    assert await lane.pending() == {}, "the store learned that it is gone, and made it again"


@pytest.mark.parametrize("most", ["abc", "nan", "inf", b"\xff"])
async def test_a_foreign_limit_lets_parked_tasks_ask_again(lane, most):
    held = await taken(lane, "one", "two")
    await lane.permit(held, Limit(1))
    await lane.finish((held["one"], "one"))
    await lane.command("HSET", lane.keys.limits, "greet:running", most)

    assert await lane.wake(1, held["one"]) == 1
