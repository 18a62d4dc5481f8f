"""beat, suspects, reap and leave: who lives keeps its tasks, who is dead loses them, once."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.maintenance.reaper import Reaper
from duly.engine.storage import scripts
from duly.engine.storage.attempts import attempts_of
from duly.engine.storage.heartbeat_reply import heartbeat_reply_of
from duly.task import AttemptOutcome
from duly.testing.waiting import until

LEASE = 10_000


async def beat(lane, server="alice"):
    return heartbeat_reply_of(await lane.beat(server))


async def test_a_heartbeat_leases_by_the_brokers_clock(lane):
    reply = await beat(lane)

    assert reply.now_ms == lane.now
    assert not reply.known
    assert await lane.score("leases", "alice") == lane.now + LEASE
    assert set(await lane.map("servers")) == {"alice"}
    assert (await beat(lane)).known


async def test_a_heartbeat_tells_how_the_queue_stands(lane):
    await beat(lane, "bob")
    await lane.end(await lane.active(), destination="retry", in_ms=LEASE + 250)
    await lane.command("SET", lane.keys.paused, 1)
    lane.now += LEASE

    reply = await beat(lane)

    assert (reply.paused, reply.expired, reply.due_in_ms) == (True, True, 250)


async def test_a_heartbeat_of_a_calm_queue_says_so(lane):
    reply = await beat(lane)

    assert (reply.paused, reply.expired, reply.due_in_ms) == (False, False, -1)
    assert reply.cancels == {}


async def test_a_live_server_loses_nothing_however_long_its_task_takes(lane):
    await lane.beat()
    stream_id = await lane.active()
    for _ in range(10):
        lane.now += LEASE - 1
        assert await lane.reap() == -1
        await lane.beat()

    assert await lane.suspects() == []
    assert await lane.pending() == {stream_id: "alice"}


async def test_a_late_heartbeat_wins_over_the_reaper(lane):
    await lane.beat()
    await lane.active()
    lane.now += LEASE
    assert await lane.suspects() == ["alice"]

    assert (await beat(lane)).known

    assert await lane.reap() == -1
    assert await lane.places() == {"one": "active"}


async def test_an_expired_lease_returns_the_task_once(lane):
    await lane.beat()
    await lane.active()
    lane.now += LEASE

    answers = [await lane.reap() for _ in range(2)]

    assert answers == [[1, 0, 1], [0, 0, 1]]
    assert await lane.places() == {"one": "waiting"}
    assert await lane.members("leases") == []
    assert not (await beat(lane)).known


async def test_many_reapers_at_once_return_the_task_once(lane):
    await lane.beat()
    await lane.active()
    lane.now += LEASE

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(lane.reap())

    assert len(await lane.stream()) == 1
    assert await lane.counts() == {"greet:crashed": 1}


async def test_a_crash_counts_apart_from_failed_attempts(lane):
    await lane.end(await lane.active(), destination="retry", tries="4 1")
    await lane.move()
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    await lane.reap()

    (again,) = await lane.claim("bob")
    assert (again.attempts, again.crashes) == (4, 2)
    crash, failure = attempts_of((await lane.map("history"))["one"])
    assert (crash.outcome, crash.number, crash.server) == (AttemptOutcome.CRASHED, 5, "alice")
    assert failure.outcome is AttemptOutcome.FAILED
    assert await lane.counts() == {"greet:crashed": 1}


async def test_a_crash_leaves_the_excuses_as_they_were(lane):
    await lane.end(await lane.active(), destination="retry", tries="4 1 7")
    await lane.move()
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    await lane.reap()

    (again,) = await lane.claim("bob")
    assert (again.attempts, again.crashes, again.uncounted_failures) == (4, 2, 7)


async def test_the_third_crash_quarantines_the_task_and_frees_its_lock(lane):
    await lane.active(lock="digest")
    for crash in range(3):
        await lane.beat()
        await lane.claim()
        lane.now += LEASE
        assert await lane.reap() == ([0, 1, 1] if crash == 2 else [1, 0, 1])

    assert await lane.places() == {"one": "quarantined"}
    assert lane.dead == ["one", "greet"]
    assert await lane.map("locks") == {}
    assert await lane.map("tries") == {"one": b"0 3"}
    assert len(attempts_of((await lane.map("history"))["one"])) == 3


async def test_a_consumer_without_a_lease_loses_only_what_is_idle(lane):
    await lane.active(server="stock-consumer")

    assert await lane.suspects() == ["stock-consumer"]
    assert await lane.reap("stock-consumer", lease_ms=600_000) == [0, 0, 1]
    assert await lane.places() == {"one": "active"}
    assert await lane.reap("stock-consumer", lease_ms=0) == [1, 0, 1]
    assert await lane.places() == {"one": "waiting"}


async def test_a_consumer_that_holds_nothing_is_no_suspect(lane):
    await lane.finish((await lane.active(server="stock-consumer"), "one"))

    assert await lane.suspects() == []


async def test_suspects_of_a_queue_without_a_stream_are_none(lane):
    assert await lane.suspects() == []


async def test_many_tasks_are_taken_in_batches(lane):
    await lane.beat()
    await lane.add(*map(str, range(25)))
    await lane.claim()
    lane.now += LEASE

    assert [await lane.reap(most=10) for _ in range(3)] == [[10, 0, 0], [10, 0, 0], [5, 0, 1]]
    assert set((await lane.places()).values()) == {"waiting"}


async def test_a_heartbeat_amid_the_batches_learns_that_its_lease_was_taken(lane):
    await lane.beat()
    await lane.add(*map(str, range(25)))
    await lane.claim()
    lane.now += LEASE
    await lane.reap(most=10)

    assert not (await beat(lane)).known
    assert await lane.reap(most=10) == -1


async def test_a_poison_task_leaves_the_others_unharmed(lane):
    await lane.end(await lane.active("poison"), "poison", destination="retry", tries="0 2")
    await lane.move()
    await lane.add("innocent")
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    assert await lane.reap() == [1, 1, 1]

    assert await lane.places() == {"poison": "quarantined", "innocent": "waiting"}


async def test_an_entry_without_data_is_quarantined(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "odd", b"\xff\xfe")
    await lane.beat()
    (delivery,) = await lane.claim()
    lane.now += LEASE

    assert await lane.reap() == [0, 1, 1]

    assert await lane.places() == {delivery.stream_id.decode(): "quarantined"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04N.",
        b"null",
        b"[]",
        b'"text"',
        b'{"task_id": 5, "task_name": []}',
        b'{"labels": 7}',
        b'{"labels": {"lock": ["x"]}}',
        b"[" * 100_000,
    ],
    ids=["empty", "pickle", "null", "list", "text", "types", "labels", "lock", "deep"],
)
async def test_no_message_keeps_the_reaper_from_the_others(lane, data):
    """asynq X14: one undecodable message stops the recovery of all queues of a server."""
    await lane.add("one")
    await lane.command("XADD", lane.keys.stream, "*", "data", data, "tries", "0 2")
    await lane.add("two")
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    assert await lane.reap() == [2, 1, 1]

    assert sorted((await lane.places()).values()) == ["quarantined", "waiting", "waiting"]


@pytest.mark.parametrize("tries", [b"", b"x", b"-1 5", b"1", b"1 2 3", b"\xff", b"0 99999999"])
async def test_odd_tries_are_no_obstacle(lane, tries):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"{}", "tries", tries)
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    assert sum((await lane.reap())[:2]) == 1


async def test_an_entry_that_was_deleted_by_hand_is_forgotten(lane):
    await lane.beat()
    stream_id = await lane.active()
    await lane.command("XDEL", lane.keys.stream, stream_id)
    lane.now += LEASE

    assert await lane.reap() == [0, 0, 1]

    assert await lane.pending() == {}


async def test_a_dead_servers_consumer_is_deleted(lane):
    await lane.beat()
    await lane.active()
    lane.now += LEASE
    await lane.reap()

    assert await lane.command("XINFO", "CONSUMERS", lane.keys.stream, "workers") == []


async def test_a_server_leaves_without_a_trace(lane):
    await lane.beat()
    await lane.finish((await lane.active(), "one"))

    assert await lane.store.deregister("lane", server="alice")

    assert await lane.members("leases") == []
    assert await lane.map("servers") == {}
    assert await lane.command("XINFO", "CONSUMERS", lane.keys.stream, "workers") == []


async def test_a_server_that_holds_tasks_leaves_them_to_the_reaper(lane):
    await lane.beat()
    await lane.active()

    assert not await lane.store.deregister("lane", server="alice")

    assert await lane.members("leases") == ["alice"]
    lane.now += LEASE
    assert await lane.reap() == [1, 0, 1]


async def test_a_server_with_a_name_that_is_no_text_is_reaped(lane):
    await lane.add("one")
    await lane.claim(b"\xff\x00")

    reaped = [await lane.reap(name, lease_ms=0) for name in (b"\xff\x00",)]

    assert reaped == [[1, 0, 1]]
    await lane.end((await lane.claim())[0].stream_id)
    assert attempts_of((await lane.map("history"))["one"])


async def test_heartbeats_say_which_kinds_live_servers_know(lane):
    await lane.beat("alice", kinds=("old", "new"))
    lane.now += 1
    await lane.beat("bob", kinds=("old",))

    assert await lane.score("kinds", "old") == lane.now + LEASE
    assert await lane.score("kinds", "new") == lane.now - 1 + LEASE
    lane.now += LEASE - 1
    await lane.beat("bob")
    assert await lane.members("kinds") == ["old"]


async def test_a_heartbeat_answers_the_last_command(any_lane):
    lane = any_lane
    assert not await lane.tell("quiet"), "nobody is there"
    await beat(lane)
    assert (await beat(lane)).command == ""

    assert await lane.tell("quiet")
    first = await beat(lane)
    assert await lane.tell("resume")
    second = await beat(lane)

    assert (first.command, second.command) == ("quiet", "resume")
    assert first.command_ms < second.command_ms
    assert (await beat(lane, "bob")).command == ""


async def test_commands_go_with_their_server(lane):
    await lane.beat()
    await lane.tell("stop")
    lane.now += LEASE
    assert not await lane.tell("quiet"), "its lease has run out"

    await lane.store.run(scripts.deregister(lane.keys, server="alice"))

    assert await lane.map("commands") == {}


async def test_a_command_that_is_none_of_ours_is_read_as_nothing(lane):
    await lane.command("HSET", lane.keys.commands, "alice", b"\xff" * 50)

    assert (await beat(lane)).command_ms == 0


async def test_a_foreign_kind_is_no_name_of_a_counter(lane):
    await lane.store.register("lane")
    data = b'{"task_id":"one","task_name":"no:name\\n"}'
    await lane.command("XADD", lane.keys.stream, "*", "data", data)
    await lane.beat()
    await lane.claim()
    lane.now += LEASE

    assert await lane.reap() == [1, 0, 1]

    assert await lane.counts() == {"-:crashed": 1}


async def test_a_heartbeat_that_arrives_late_begins_no_lease(lane):
    """Its reply reaches nobody: the server would not learn that its task is another's."""
    await lane.beat("alice")
    await lane.active("one", server="alice")
    lane.now += 10_001
    await lane.reap("alice")

    assert (await lane.beat("alice", begins=False))[1] == 0
    assert (await lane.beat("alice", begins=False))[1] == 0

    assert await lane.members("leases") == []
    assert (await lane.beat("alice", begins=True))[1] == 0
    assert (await lane.beat("alice", begins=False))[1] == 1


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xc3\x28\x00", b"caf\xc3\xa9"])
async def test_the_tasks_of_a_foreign_consumer_wait_again(lane, name):
    await lane.add("one")
    await lane.claim(name)
    reaper = Reaper(lane.store, lane.keys.name, lease=timedelta(milliseconds=1))

    async def reaped():
        await reaper.run_once()
        return await lane.places() == {"one": "waiting"}

    await until(reaped)
    (attempt,) = attempts_of((await lane.map("history"))["one"])
    assert attempt.server.isascii()
