"""publish_kinds.lua and forget_kinds.lua: the newest wins, all is bounded, nothing used goes."""

import pytest

from duly.engine.storage import scripts
from duly.engine.storage.catalogue import edition_from, rival_from
from duly.engine.storage.keys import KIND_KEYS
from duly.engine.storage.scripts import LIVE_MS, Said
from duly.engine.storage.scripts.kinds import KEPT_MS

DAY = 86_400_000
RECORD = b'{"queue":"default"}'


def said(kind="bill", digest="d1", app="shop", record=RECORD, queue="default"):
    return Said(kind, digest, app, record, queue)


@pytest.fixture
def publish(lane):
    """Publish kinds; return the answers, and what is to be forgotten."""

    async def publishing(*kinds, started=None, now=None, **bounds):
        now_ms = now or lane.now
        call = scripts.publish_kinds(
            kinds, started_ms=now_ms if started is None else started, now_ms=now_ms, **bounds
        )
        answers, old = await lane.store.run(call)
        return [answer.decode() for answer in answers], [kind.decode() for kind in old]

    return publishing


@pytest.fixture
def stored(lane):
    """Return what stands under a kind: record, edition, rival."""

    async def read(kind="bill"):
        keys = (KIND_KEYS.records, KIND_KEYS.editions, KIND_KEYS.rivals)
        record, edition, rival = [await lane.command("HGET", key, kind) for key in keys]
        return record, edition_from(edition), rival_from(rival)

    return read


async def size(lane):
    """Return the bytes as they are counted, and as they are."""
    counted = int(await lane.command("HGET", KIND_KEYS.editions, "") or 0)
    return counted, sum(map(len, await lane.command("HVALS", KIND_KEYS.records)))


async def test_a_kind_is_published_and_published_again(lane, publish, stored):
    for _ in range(2):
        assert await publish(said(), said("mail", record=b"{}"), started=lane.now - 5) == (
            ["ok", "ok"], [],
        )  # fmt: skip

    record, edition, rival = await stored()
    assert (record, rival) == (RECORD, None)
    assert (edition.published_ms, edition.digest, edition.app) == (lane.now, "d1", "shop")
    assert await size(lane) == (len(RECORD) + 2,) * 2


async def test_of_two_that_live_the_one_that_started_last_has_its_record(lane, publish, stored):
    await publish(said(digest="d1"), started=1)

    assert await publish(said(digest="d2", app="blog", record=b"{}"), started=2) == (
        ["newer shop"], [],
    )  # fmt: skip
    record, edition, rival = await stored()
    assert (record, edition.app, rival.app, rival.digest) == (b"{}", "blog", "shop", "d1")

    assert await publish(said(digest="d1"), started=1, now=lane.now + 9) == (["older blog"], [])
    record, edition, rival = await stored()
    assert (record, edition.app) == (b"{}", "blog")
    assert (rival.app, rival.published_ms) == ("shop", lane.now + 9)
    assert await size(lane) == (2, 2)


async def test_replicas_of_one_schema_are_no_rivals(lane, publish, stored):
    await publish(said(app=""), started=2)

    assert await publish(said(app=""), started=1) == (["ok"], [])
    assert await publish(said(app=""), started=3) == (["ok"], [])
    assert (await stored())[2] is None


async def test_who_has_not_published_for_long_has_no_say(lane, publish, stored):
    await publish(said(digest="d2", app="blog"), started=2)

    assert await publish(said(), started=1, now=lane.now + LIVE_MS) == (["ok"], [])
    assert (await stored())[1].app == "shop"


async def test_a_full_catalogue_takes_no_other_kind_and_renews_those_it_has(publish, stored):
    await publish(said("a"), said("b"))

    assert (await publish(said("c"), said("a"), most=2))[0] == ["full", "ok"]
    assert (await stored("c"))[0] is None


async def test_the_records_have_no_more_bytes_than_allowed(lane, publish):
    most = 2 * len(RECORD)

    answers, _ = await publish(said("a"), said("b"), said("c"), most_bytes=most)
    assert answers == ["ok", "ok", "full"]
    assert (await publish(said("a", record=RECORD + b" "), most_bytes=most))[0] == ["full"]
    assert (await publish(said("a", record=b"{}"), most_bytes=most))[0] == ["ok"]
    assert await size(lane) == (len(RECORD) + 2,) * 2


async def test_kinds_that_nobody_publishes_are_named_and_forgotten_on_request(
    lane, publish, stored
):
    await publish(said("old"))
    later = lane.now + 31 * DAY

    assert await publish(said("new"), now=later) == (["ok"], ["old"])
    call = scripts.forget_kinds(["old", "new", "never"], now_ms=later)
    assert await lane.store.run(call) == 1
    assert (await stored("old"))[:2] == (None, None)
    assert (await stored("new"))[0] == RECORD
    assert await size(lane) == (len(RECORD),) * 2
    assert await publish(said("new"), now=later) == (["ok"], [])


async def test_one_that_loses_to_a_newer_keeps_the_kind_all_the_same(lane, publish):
    await publish(said(digest="d2"), started=2)
    await publish(said(digest="d1"), started=1, now=lane.now + 1)

    assert await lane.command("ZSCORE", KIND_KEYS.published, "bill") in {
        float(lane.now + 1), str(lane.now + 1).encode(),
    }  # fmt: skip


async def test_what_others_wrote_there_is_replaced(lane, publish, stored):
    await lane.command("HSET", KIND_KEYS.editions, "bill", "nonsense")
    await lane.command("HSET", KIND_KEYS.records, "bill", "x" * 9)

    assert (await publish(said()))[0] == ["ok"]
    assert (await stored())[0] == RECORD


async def test_queues_of_published_kinds_are_kept_for_as_long_as_kinds_are(lane, publish):
    await publish(said(), said("mail", queue="low"))
    await publish(said("full", queue="gone"), most=2)

    assert set(await lane.command("SMEMBERS", KIND_KEYS.queues)) == {b"default", b"low"}
    assert 0 < await lane.command("PTTL", KIND_KEYS.queues) <= KEPT_MS


@pytest.mark.parametrize("total", ["abc", "", "nan", "9" * 30, b"\xff"])
async def test_a_foreign_total_keeps_nobody_from_publishing(lane, publish, total):
    await lane.command("HSET", KIND_KEYS.editions, "", total)

    assert (await publish(said()))[0] == ["ok"]
    await lane.command("HSET", KIND_KEYS.editions, "", total)
    gone = scripts.forget_kinds(["bill"], now_ms=lane.now + KEPT_MS)
    assert await lane.store.run(gone) == 1
