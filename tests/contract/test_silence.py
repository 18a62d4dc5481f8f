"""heartbeat.lua, expired_leases.lua, reap.lua: an outage of the broker is nobody's crash."""

import pytest

LEASE = 10_000
"""As `Lane` has it."""
SERVERS = ("alice", "bob", "carol")


@pytest.fixture
async def staffed(lane):
    """Return a lane whose servers hold a task each, and which nobody else watches."""
    for server in SERVERS:
        await lane.beat(server, kinds=[f"of-{server}"])
        await lane.active(f"task-{server}", server)
    lane.watched = False
    return lane


async def crashes(lane):
    return [await lane.command("HGET", lane.keys.totals, "greet:crashed")]


@pytest.mark.fault("broker hangs")
@pytest.mark.parametrize("silence", [LEASE + 1, 3 * LEASE, 1_000 * LEASE])
@pytest.mark.parametrize("first", ["heartbeat", "look", "reaper"])
async def test_after_an_outage_nobody_is_judged_in_the_dark(staffed, silence, first):
    staffed.now += silence
    if first == "heartbeat":
        assert (await staffed.beat("alice"))[1:4] == [1, 0, 0]
    elif first == "reaper":
        assert await staffed.reap("bob") == -1

    assert await staffed.suspects() == []
    staffed.now += LEASE // 4
    assert [await staffed.reap(server) for server in SERVERS] == [-1, -1, -1]
    assert await crashes(staffed) == [None]


@pytest.mark.fault("broker hangs")
async def test_a_server_that_died_in_an_outage_is_reaped_one_lease_after_it(staffed):
    staffed.now += 3 * LEASE
    for _ in range(4):
        for server in ("alice", "carol"):
            await staffed.beat(server)
        assert await staffed.suspects() == []
        staffed.now += LEASE // 4

    assert await staffed.suspects() == ["bob"]
    assert [await staffed.reap(server) for server in SERVERS] == [-1, [1, 0, 1], -1]


async def test_a_server_that_was_dead_before_an_outage_is_reaped_at_once(staffed):
    for _ in range(5):
        staffed.now += LEASE // 4
        for server in ("alice", "carol"):
            await staffed.beat(server)

    staffed.now += 3 * LEASE

    assert await staffed.suspects() == ["bob"]
    assert await staffed.reap("bob") == [1, 0, 1]


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("jump", [15_000, -15_000, 600_000, -600_000])
async def test_a_clock_that_jumps_and_returns_makes_nobody_crash(staffed, jump):
    for shift in (jump, -jump):
        staffed.now += shift
        await staffed.beat("alice")
        assert await staffed.suspects() == []
        staffed.now += LEASE // 4
        for server in SERVERS:
            await staffed.beat(server)

    assert await staffed.suspects() == []
    assert await crashes(staffed) == [None]


@pytest.mark.fault("clock jumps")
@pytest.mark.parametrize("jump", [15_000, -15_000, 600_000, -600_000])
async def test_a_server_that_dies_by_a_jump_is_reaped_within_a_lease(staffed, jump):
    for shift in (jump, -jump):
        staffed.now += shift
        await staffed.beat("alice")
    for _ in range(5):
        staffed.now += LEASE // 4
        await staffed.beat("alice")
        await staffed.beat("carol")

    assert await staffed.suspects() == ["bob"]


async def test_while_others_send_heartbeats_a_lease_ends_in_its_time(staffed):
    for _ in range(4):
        staffed.now += LEASE // 4
        await staffed.beat("alice")

    assert await staffed.suspects() == ["bob", "carol"]


async def test_looks_of_a_scheduler_keep_the_pulse_of_a_queue(staffed):
    found = []
    for _ in range(10):
        staffed.now += LEASE // 10
        found += await staffed.suspects()

    assert sorted(found) == sorted(SERVERS)


async def test_after_an_outage_the_kinds_of_all_servers_are_still_known(staffed):
    staffed.now += 3 * LEASE
    await staffed.beat("alice", kinds=["of-alice"])

    assert len(await staffed.command("ZRANGE", staffed.keys.kinds, 0, -1)) == len(SERVERS)
    staffed.now += LEASE // 2
    await staffed.beat("alice", kinds=["of-alice"])
    staffed.now += LEASE // 2
    await staffed.beat("alice", kinds=["of-alice"])
    assert await staffed.command("ZRANGE", staffed.keys.kinds, 0, -1) == [b"of-alice"]


async def test_servers_of_unlike_leases_do_not_take_each_other_s_rests_for_silence(staffed):
    found = []
    for _ in range(8):
        staffed.now += LEASE // 4
        await staffed.beat("alice")
        staffed.now += 1
        found += await staffed.suspects(lease_ms=LEASE // 10)

    assert set(found) == {"bob", "carol"}


@pytest.mark.parametrize("value", ["", "soon", "1 2 3", "-5 10000", "5e3 1"])
async def test_a_pulse_that_cannot_be_read_is_none(staffed, value):
    await staffed.command("SET", staffed.keys.pulse, value)

    await staffed.beat("alice")

    assert await staffed.command("GET", staffed.keys.pulse) == f"{staffed.now} {LEASE}".encode()
