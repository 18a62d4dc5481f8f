"""Publishing kinds: when, how much, and what is told of it."""

from datetime import timedelta

import pytest
from pydantic import Field
from structlog.testing import capture_logs

from duly.described_job import described_job
from duly.engine.enqueue.kind_publisher import PUBLISH_EVERY, KindPublisher
from duly.engine.storage.keys import KIND_KEYS
from duly.errors import BrokerDownError, BrokerError, UnknownKindError
from duly.job import Job, Policy
from duly.testing.clock import FrozenClock

LONG = " ".join(["word"] * 500)


class Bill(Job, kind="bill", policy=Policy(queue="low", max_attempts=3)):
    """Send a bill.

    To whom it may concern.
    """

    order_id: int
    note: str = ""


class Mail(Job, kind="mail"):
    to: str


class Large(Job, kind="large"):
    a: int = Field(0, description="x" * 40_000)


class Wordy(Job, kind="wordy", policy=Policy()):
    __doc__ = LONG


def another(kind="bill"):
    class Other(Job, kind=kind):
        number: str

    return Other


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def publisher(store, clock):
    """Return a publisher, as another process has it."""
    return lambda app="shop": KindPublisher(store, app=app, clock=clock)


@pytest.fixture
def commands(store, monkeypatch):
    """The scripts that were run, by name."""
    ran = []
    run = store.run

    async def counted(call):
        ran.append(call.script.name)
        return await run(call)

    monkeypatch.setattr(store, "run", counted)
    return ran


async def test_what_is_published_is_found(publisher, inspector):
    await publisher().publish([Bill, Mail])

    assert await inspector.kinds.names() == ["bill", "mail"]
    bill = await inspector.kinds.find("bill")
    assert (bill.kind, bill.queue, bill.app) == ("bill", "low", "shop")
    assert bill.description == "Send a bill."
    assert bill.policy["max_attempts"] == 3
    assert bill.schema["required"] == ["order_id"]
    assert bill.servers == ()
    assert bill.rival_app is None
    assert [report.kind for report in await inspector.kinds.list()] == ["bill", "mail"]


async def test_one_command_publishes_all_and_is_not_repeated_before_time(
    publisher, clock, commands
):
    process = publisher()
    for _ in range(20):
        await process.publish([Bill, Mail])
        clock.advance(timedelta(seconds=10))

    assert commands == ["publish_kinds"]
    clock.advance(PUBLISH_EVERY)
    await process.publish([Bill, Mail])
    assert commands == ["publish_kinds"] * 2


async def test_a_change_is_published_at_once(publisher, inspector, commands):
    process = publisher()
    await process.publish([Bill])
    await process.publish([Bill, Mail])

    assert commands == ["publish_kinds"] * 2
    assert await inspector.kinds.names() == ["bill", "mail"]


async def test_a_broker_that_lost_everything_knows_it_again(publisher, clock, store, inspector):
    process = publisher()
    await process.publish([Bill])
    await store.connection.command("FLUSHALL")
    clock.advance(PUBLISH_EVERY)
    await process.publish([Bill])

    assert await inspector.kinds.names() == ["bill"]


async def test_nothing_to_publish_asks_nobody(publisher, commands):
    await publisher().publish([])
    await publisher().publish([described_job("bill", None, {})])

    assert commands == []


async def test_a_schema_that_is_too_large_is_left_out_and_told_once(publisher, clock, inspector):
    process = publisher()
    with capture_logs() as lines:
        await process.publish([Large])
        clock.advance(PUBLISH_EVERY)
        await process.publish([Large])

    assert (await inspector.kinds.find("large")).schema is None
    (line,) = lines
    assert line["event"] == "Kind published without the schema of its payload"
    assert "the limit is 32768" in line["reason"]


async def test_a_long_description_is_cut(publisher, inspector):
    await publisher().publish([Wordy])

    assert len((await inspector.kinds.find("wordy")).description) == 1_000


async def test_two_applications_with_one_kind_are_told_once_each_and_marked(
    publisher, clock, store, inspector, monkeypatch
):
    shop, blog = publisher("shop"), publisher("blog")
    await shop.publish([Bill])
    now_ms = store.now_ms()
    monkeypatch.setattr(store, "now_ms", lambda: now_ms + 1_000)
    with capture_logs() as lines:
        for _ in range(3):
            await blog.publish([another()])
            clock.advance(PUBLISH_EVERY)
            await shop.publish([Bill])

    found = [(line["other_app"], line["shown"].split(",")[0]) for line in lines]
    assert found == [("shop", "this one"), ("blog", "the other")]
    assert {line["log_level"] for line in lines} == {"warning"}
    report = await inspector.kinds.find("bill")
    assert (report.app, report.rival_app) == ("blog", "shop")
    assert "number" in report.schema["properties"]


async def test_a_new_version_of_one_application_is_no_warning(publisher, store, monkeypatch):
    await publisher("shop").publish([Bill])
    now_ms = store.now_ms()
    monkeypatch.setattr(store, "now_ms", lambda: now_ms + 1_000)
    with capture_logs() as lines:
        await publisher("shop").publish([another()])

    assert [line["log_level"] for line in lines] == ["info"]


async def test_a_broker_that_refuses_is_told_once_and_asked_again_later(
    publisher, clock, store, monkeypatch
):
    asked = []

    async def refuse(call):
        asked.append(call)
        raise BrokerError("NOPERM this user has no permissions")

    process = publisher()
    monkeypatch.setattr(store, "run", refuse)
    with capture_logs() as lines:
        for _ in range(3):
            await process.publish([Bill])
            await process.publish([Bill])
            clock.advance(PUBLISH_EVERY)

    assert len(asked) == 3
    assert [line["event"] for line in lines] == ["Kinds of job not published"]


async def test_a_broker_that_is_down_is_asked_again_at_once(publisher, store, monkeypatch):
    process = publisher()

    async def down(call):
        raise BrokerDownError("somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(store, "run", down)
        with pytest.raises(BrokerDownError):
            await process.publish([Bill])
    await process.publish([Bill])

    assert await store.connection.command("HEXISTS", KIND_KEYS.records, "bill")


async def test_an_old_kind_is_forgotten_unless_a_live_server_has_it(publisher, store, inspector):
    await publisher().publish([Bill, Mail])
    for kind in ("bill", "mail"):
        await store.connection.command("ZADD", KIND_KEYS.published, 1, kind)
    await store.register("default")
    await store.heartbeat("default", server="s", lease_ms=60_000, description=b"{}", kinds=["mail"])
    await publisher().publish([another("new")])

    assert await inspector.kinds.names() == ["mail", "new"]


async def test_an_unknown_kind_names_the_closest(publisher, inspector):
    with pytest.raises(UnknownKindError, match="nobody has published a kind"):
        await inspector.kinds.find("bil")
    await publisher().publish([Bill, Mail])
    with pytest.raises(UnknownKindError, match=r"did you mean 'bill'\?\); known: bill, mail"):
        await inspector.kinds.find("bil")
    with pytest.raises(UnknownKindError):
        await inspector.kinds.find("no name\n")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"queue":1}', b"\xff", b'{"queue":"' + b"x" * 70_000 + b'"}']
)
async def test_what_is_no_record_is_passed_over(publisher, store, inspector, data):
    await publisher().publish([Bill, Mail])
    await store.connection.command("HSET", KIND_KEYS.records, "mail", data)
    await store.connection.command("HSET", KIND_KEYS.records, "no name", b"{}")

    assert [report.kind for report in await inspector.kinds.list()] == ["bill"]
    with pytest.raises(UnknownKindError):
        await inspector.kinds.find("mail")


async def test_a_worker_publishes_what_it_handles_and_is_named(serving, inspector, until):
    async def bill(job, context):
        return None

    async with serving({Bill: bill}, app="shop") as server:

        async def published():
            return await inspector.kinds.names() == ["bill"]

        await until(published)
        assert (await inspector.kinds.find("bill")).servers == (server.id,)
    assert (await inspector.kinds.find("bill")).servers == ()
