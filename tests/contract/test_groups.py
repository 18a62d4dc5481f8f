"""group_add.lua, group_claim.lua, group_complete.lua: tasks become one, none lost or doubled."""

import pytest

from duly.engine.storage.scripts import NewTask

GRACE, DELAY = 10_000, 25_000


def member(task_id, name="sms:a", delay=DELAY, size=5, **options):
    group = (name, GRACE, delay, size)
    data = b'{"task_id":"%s","task_name":"sms","labels":{"group":["%s",%d,%d,%d]}}' % (
        task_id.encode(), name.encode(), GRACE, delay, size,
    )  # fmt: skip
    return NewTask(id=task_id, data=data, group=group, **options)


def merged(task_id="all", **options):
    return NewTask(id=task_id, data=b"{}", **options)


async def test_a_group_is_due_when_its_newest_has_waited_for_the_grace(lane):
    assert await lane.gather(member("1"), member("2")) == [3, 3]
    lane.now += GRACE - 1
    await lane.gather(member("3"))
    lane.now += GRACE - 1
    assert await lane.glean() == {}
    assert await lane.places() == dict.fromkeys("123", "aggregating")

    lane.now += 1

    assert await lane.glean() == {"sms:a": (1, ["1", "2", "3"])}


async def test_a_group_is_due_when_its_oldest_has_waited_for_the_delay(lane):
    for task_id in "1234":
        await lane.gather(member(task_id))
        lane.now += DELAY // 4

    assert await lane.glean() == {"sms:a": (1, ["1", "2", "3", "4"])}


async def test_a_group_is_due_when_it_is_full(lane):
    await lane.gather(*[member(str(n)) for n in range(4)])
    assert await lane.glean() == {}

    await lane.gather(member("4"))

    assert set(await lane.glean()) == {"sms:a"}


async def test_groups_and_kinds_are_apart(lane):
    """`user` and `user:1` are two names, whatever the one begins with."""
    for name in ("sms:user", "sms:user:1", "mail:user"):
        await lane.gather(member(name, name=name, size=1))

    assert await lane.glean("sms") == {"sms:user": (1, ["sms:user"]),
                                       "sms:user:1": (1, ["sms:user:1"])}  # fmt: skip
    assert set(await lane.glean("mail", "sms")) == {"mail:user"}


async def test_members_are_replaced_by_one_task_in_one_step(lane):
    await lane.gather(member("1", lock="red", lock_ttl_ms=90_000), member("2"))
    lane.now += GRACE
    await lane.glean()

    answer = await lane.merge("sms:a", members=[("1", "red"), "2"], merged=merged())

    assert answer == "ok"
    assert await lane.places() == {"all": "waiting"}
    assert await lane.map("locks") == {} == await lane.map("claims")
    assert await lane.members("groups") == []
    assert await lane.counts() == {"sms:aggregated": 2}


async def test_a_repeated_merge_merges_nothing_twice(lane):
    """asynq F5: there enqueueing and deleting are two steps."""
    await lane.gather(member("1", size=1))
    await lane.glean()
    await lane.merge("sms:a", members=["1"], merged=merged())
    (delivery,) = await lane.claim()
    await lane.finish((delivery.stream_id, "all"))

    assert await lane.merge("sms:a", members=["1"], merged=merged()) == "lost"

    assert await lane.places() == {}


async def test_the_groups_of_a_dead_server_are_found_again(lane):
    """asynq X12: there they are stuck until somebody else joins."""
    await lane.gather(member("1", size=1))
    await lane.glean(token="alice")
    assert await lane.glean(token="bob") == {}
    lane.now += 60_000

    assert await lane.glean(token="bob") == {"sms:a": (2, ["1"])}
    assert await lane.merge("sms:a", members=["1"], merged=merged("late")) == "lost"
    assert await lane.merge("sms:a", members=["1"], merged=merged(), token="bob") == "ok"
    assert await lane.places() == {"all": "waiting"}


async def test_who_joins_meanwhile_stays_for_the_next_merge(lane):
    await lane.gather(member("1", size=1))
    await lane.glean()
    await lane.gather(member("2", size=1))
    assert await lane.glean(token="bob") == {}

    await lane.merge("sms:a", members=["1"], merged=merged())

    assert await lane.places() == {"all": "waiting", "2": "aggregating"}
    assert await lane.score("groups", "sms:a") == lane.now + 7_000


@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
async def test_a_member_that_has_left_meanwhile_is_not_merged(lane, operation):
    await lane.gather(member("1"), member("2"))
    lane.now += GRACE
    await lane.glean()
    assert await lane.operate(operation, "1") == "ok"

    assert await lane.merge("sms:a", members=["1", "2"], merged=merged()) == "changed"

    assert (await lane.places())["2"] == "aggregating"
    assert await lane.glean() == {"sms:a": (1, ["2"])}


@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
@pytest.mark.parametrize("is_claimed", [False, True])
async def test_a_group_goes_with_its_last_member(lane, operation, is_claimed):
    await lane.gather(member("1"), member("2"))
    lane.now += GRACE
    if is_claimed:
        await lane.glean()

    assert await lane.operate(operation, "1") == "ok"
    assert await lane.members("groups") == ["sms:a"]
    assert await lane.operate(operation, "2") == "ok"

    await lane.places()
    assert await lane.members("groups") == [] == list(await lane.map("claims"))
    if is_claimed:
        assert await lane.merge("sms:a", members=["1", "2"], merged=merged()) == "lost"
    await lane.gather(member("3"))
    lane.now += GRACE
    assert await lane.glean() == {"sms:a": (1, ["3"])}


async def test_a_due_group_without_members_is_dropped_whoever_merges_it(lane):
    await lane.gather(member("1"), member("2"))
    await lane.gather(member("other", name="sms:b"))
    later = lane.now + GRACE
    await lane.command("HDEL", lane.keys.records, "1", "2")  # whose group nobody can tell
    for task_id in ("1", "2"):
        assert await lane.operate("delete", task_id) == "ok"
    assert await lane.members("groups") == ["sms:a", "sms:b"]

    assert await lane.sweep() == (0, 0), "none is due"
    lane.now = later
    await lane.command("ZADD", lane.keys.groups, 1, "sms:empty", 2, "foreign")

    assert await lane.sweep(most=2) == (0, 2)
    assert await lane.sweep(most=1) == (0, 1)
    assert await lane.sweep(most=1) == (1, 0)
    assert await lane.sweep(passed=1) == (0, 0)
    assert await lane.places() == {"other": "aggregating"}


async def test_a_member_that_is_in_another_group_by_now_keeps_none(lane):
    await lane.gather(member("1"))
    stale = f"sms:old\n{lane.now - 1:013}\n1"
    await lane.command("ZADD", lane.keys.members, 0, stale)
    await lane.command("ZADD", lane.keys.groups, 1, "sms:old")

    assert await lane.sweep() == (0, 1)

    assert await lane.places() == {"1": "aggregating"}


@pytest.mark.parametrize("group", ["sms:a", "sms:b"])
@pytest.mark.parametrize(("outcome", "answer"), [("merge", "changed"), ("archive", ["2"])])
async def test_a_new_task_with_a_members_id_is_not_taken_for_it(lane, group, outcome, answer):
    await lane.gather(member("1"), member("2", size=2))
    await lane.glean()
    await lane.operate("delete", "1")
    lane.now += 1
    await lane.gather(member("1", name=group))

    assert await lane.merge("sms:a", outcome, ["1", "2"], merged=merged()) == answer

    left = "aggregating" if outcome == "merge" else "archived"
    assert await lane.places() == {"1": "aggregating", "2": left}
    lane.now += 60_000
    _, ids = (await lane.glean())[group]
    assert "1" in ids


async def test_a_clock_that_was_set_back_hinders_no_merge(lane):
    await lane.gather(member("1", size=1))
    await lane.gather(member("2", size=1))
    lane.now -= 3_600_000
    await lane.command("ZADD", lane.keys.groups, lane.now, "sms:a")
    await lane.glean()

    assert await lane.merge("sms:a", members=["1", "2"], merged=merged()) == "ok"


async def test_a_group_whose_merging_failed_waits(lane):
    await lane.gather(member("1", size=1))
    await lane.glean()

    assert await lane.merge("sms:a", "back", in_ms=3_000) == "ok"

    await lane.gather(member("2", size=1))
    assert await lane.glean() == {}
    lane.now += 3_000
    assert await lane.glean() == {"sms:a": (2, ["1", "2"])}


async def test_a_group_that_is_given_up_is_archived_with_the_reason(lane):
    await lane.gather(member("1", lock="red", lock_ttl_ms=90_000))
    lane.now += GRACE
    await lane.glean()

    await lane.merge("sms:a", "archive", [("1", "red")], attempt=b'{"number":5}')

    assert await lane.places() == {"1": "archived"}
    assert await lane.map("history") == {"1": b'{"number":5}'}
    assert await lane.map("locks") == {}
    assert await lane.counts() == {"sms:archived": 1}


async def test_a_merged_task_whose_lock_is_taken_leaves_the_members(lane):
    await lane.add(NewTask(id="held", data=b"{}", lock="blue", lock_ttl_ms=90_000))
    await lane.gather(member("1", size=1))
    await lane.glean()

    task = merged(lock="blue", lock_ttl_ms=1)

    assert await lane.merge("sms:a", members=["1"], merged=task) == "held"
    assert (await lane.places())["1"] == "aggregating"


async def test_what_cannot_join_is_refused_with_the_reason(lane):
    await lane.add("taken")
    unique = member("1", lock="red", lock_ttl_ms=90_000)

    answers = await lane.gather(
        unique, member("taken"), member("2", lock="red", lock_ttl_ms=1), member("3")
    )

    assert answers == [3, -2, "1", 3]
    assert await lane.gather(member("4"), max_length=2) == [-3]


async def test_a_scheduled_member_joins_its_group_when_it_is_due(lane):
    """asynq X2: there it runs by itself."""
    await lane.gather(member("1"))
    later = member("2")
    later.due_ms = lane.now + 5_000
    await lane.add(later)
    assert (await lane.places())["2"] == "scheduled"
    lane.now += 5_000

    await lane.move()

    assert await lane.places() == {"1": "aggregating", "2": "aggregating"}
    lane.now += GRACE
    assert await lane.glean() == {"sms:a": (1, ["1", "2"])}


async def test_a_retry_of_a_task_that_left_its_group_runs_by_itself(lane):
    await lane.gather(member("1"))
    await lane.operate("run", "1")
    (delivery,) = await lane.claim()
    await lane.end(delivery.stream_id, "1", destination="retry")

    await lane.move()

    assert await lane.places() == {"1": "waiting"}


@pytest.mark.parametrize(
    "label", [b'{"group":"x"}', b'{"group":["x",1,1]}', b'{"group":["a\\nb",1,1,1]}', b"7"]
)
async def test_a_foreign_group_label_is_none(lane, label):
    data = b'{"task_id":"1","task_name":"sms","labels":%s,"kwargs":{"group":1}}' % label
    await lane.add(NewTask(id="1", data=data, due_ms=lane.now + 1))
    lane.now += 1

    await lane.move()

    assert await lane.places() == {"1": "waiting"}


async def test_every_shape_of_broker_merges(any_lane):
    await any_lane.gather(member("1", size=2), member("2", size=2))
    await any_lane.glean()

    assert await any_lane.merge("sms:a", members=["1", "2"], merged=merged()) == "ok"
    assert await any_lane.places() == {"all": "waiting"}


async def test_a_merged_task_may_take_the_lock_of_its_member(lane):
    """A function that returns a unique member's own payload asks for the lock that it holds."""
    await lane.gather(member("1", lock="digest", lock_ttl_ms=3_600_000))
    lane.now += GRACE
    await lane.glean()

    new = merged(lock="digest", lock_ttl_ms=60_000)
    assert await lane.merge("sms:a", members=[("1", "digest")], merged=new) == "ok"

    assert await lane.places() == {"all": "waiting"}
    assert (await lane.map("locks"))["digest"].endswith(b" all")


async def test_a_member_deleted_by_hand_keeps_no_group_due_for_ever(lane):
    await lane.gather(member("1"), member("2", name="sms:b"))
    await lane.command("HDEL", lane.keys.records, "1")
    await lane.operate("delete", "1")
    lane.now += GRACE

    assert await lane.glean() == {"sms:b": (1, ["2"])}
    await lane.glean()

    assert await lane.places() == {"2": "aggregating"}
    assert await lane.members("groups") == ["sms:b"]


async def test_large_members_are_claimed_part_by_part(lane):
    large = b'{"task_id":"x","task_name":"sms","kwargs":{"text":"%s"}}' % (b"x" * 250_000)
    tasks = [NewTask(id=str(n), data=large, group=("sms:a", 0, 0, 100)) for n in range(100, 140)]
    await lane.gather(*tasks)

    ((times, ids),) = (await lane.glean()).values()
    assert await lane.merge("sms:a", members=ids, merged=merged(), in_ms=0) == "ok"
    ((_, rest),) = (await lane.glean()).values()

    assert times == 1
    assert 30 < len(ids) < 40
    assert ids + rest == [task.id for task in tasks]


async def test_members_that_leave_are_no_failures_of_the_group(lane):
    await lane.gather(*[member(str(n), size=100) for n in range(8)])
    lane.now += GRACE
    for n in range(7):
        ((times, ids),) = (await lane.glean()).values()
        await lane.operate("delete", str(n))
        assert await lane.merge("sms:a", members=ids, merged=merged()) == "changed"
        assert times == 1

    assert await lane.glean() == {"sms:a": (1, ["7"])}


@pytest.mark.parametrize("many", [1_500, 10_500])
async def test_groups_that_nobody_merges_here_keep_back_no_others(lane, many):
    for number in range(4):
        await lane.gather(member(str(number), name=f"sms:{number}"))
    lane.now += GRACE
    foreign = [part for number in range(many) for part in (lane.now - 1_000_000, f"fax:{number}")]
    await lane.command("ZADD", lane.keys.groups, *foreign)

    claimed, passed = {}, []
    for _ in range(3):
        claimed |= await lane.glean(passed=lane.passed)
        passed.append(lane.passed)

    assert sorted(claimed) == [f"sms:{number}" for number in range(4)]
    assert passed == ([1_500, 0, 0] if many < 10_000 else [10_000, 10_500, 0])
    assert await lane.command("ZCARD", lane.keys.groups) == many + 4, "they wait for a merger"


async def test_groups_that_go_while_others_are_looked_at_let_none_be_passed_over(lane):
    for number in range(6):
        await lane.gather(member(str(number), name=f"sms:{number}"))
    await lane.command("DEL", lane.keys.aggregating)
    for number in (1, 3, 5):
        await lane.command("ZADD", lane.keys.aggregating, lane.now, str(number))
    lane.now += GRACE

    assert sorted(await lane.glean()) == ["sms:1", "sms:3", "sms:5"]
    await lane.glean()

    assert await lane.members("groups") == ["sms:1", "sms:3", "sms:5"]


@pytest.mark.parametrize("claim", ["junk", "", b"\xff", "token 5 1"])
async def test_a_foreign_claim_keeps_no_group_from_being_due(lane, claim):
    await lane.command("HSET", lane.keys.claims, "sms:a", claim)
    await lane.gather(member("1"))
    lane.now += GRACE

    assert list(await lane.glean()) == ["sms:a"]


@pytest.mark.parametrize("name", ["sms:a\n", "sms:a\nq", "sms:a\n\xff", "sms:a\n00 0\nq"])
async def test_a_foreign_member_keeps_nobody_from_joining(lane, name):
    await lane.command("ZADD", lane.keys.members, 0, name)

    assert await lane.gather(member("1")) == [3]
    lane.now += GRACE
    assert "1" in (await lane.glean())["sms:a"][1]


async def test_a_member_is_quarantined_while_the_claim_of_the_others_goes_on(lane):
    await lane.gather(member("1", lock="red", lock_ttl_ms=9_000), member("2"))
    lane.now += GRACE
    await lane.glean()

    odd = [("1", "red")]
    assert await lane.merge("sms:a", "quarantine", odd, attempt=b"{}") == ["1"]
    assert await lane.places() == {"1": "quarantined", "2": "aggregating"}
    assert await lane.map("locks") == {}
    assert await lane.merge("sms:a", members=["2"], merged=merged()) == "ok"

    assert await lane.places() == {"1": "quarantined", "all": "waiting"}
    assert await lane.counts() == {"sms:quarantined": 1, "sms:aggregated": 1}
