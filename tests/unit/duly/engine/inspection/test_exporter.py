"""The lease of the exporter: of any number one reads, and another takes over."""

from datetime import timedelta

from duly.engine.inspection.exporter import Exporter
from duly.engine.storage.keys import EXPORTER
from duly.testing.waiting import until

LONG, SHORT = timedelta(hours=1), timedelta(milliseconds=50)


async def test_one_of_several_reads_as_long_as_it_goes_on(store):
    first, second = Exporter(store, lease=LONG), Exporter(store, lease=LONG)

    assert await first.read() is not None
    assert await second.read() is None
    assert await first.read() is not None


async def test_another_takes_over_when_the_lease_ends(store):
    await Exporter(store, lease=SHORT).read()
    other = Exporter(store, lease=LONG)

    async def reads():
        return await other.read() is not None

    await until(reads)


async def test_who_leaves_lets_another_take_over_at_once(store):
    first, second = Exporter(store, lease=LONG), Exporter(store, lease=LONG)
    await first.read()
    await second.leave()
    assert await second.read() is None
    await first.leave()

    async def reads():
        return await second.read() is not None

    await until(reads)


async def test_reading_renews_the_lease(store):
    exporter = Exporter(store, lease=LONG)
    await exporter.read()
    await store.connection.command("PEXPIRE", EXPORTER, 60_000)

    await exporter.read()

    assert await store.connection.command("PTTL", EXPORTER) > 60_000


async def test_it_opens_and_leaves_by_itself(broker_settings, store):
    async with Exporter.open(broker_settings, lease=LONG) as exporter:
        assert await exporter.read() is not None

    async def gone():
        return not await store.connection.command("EXISTS", EXPORTER)

    await until(gone)
