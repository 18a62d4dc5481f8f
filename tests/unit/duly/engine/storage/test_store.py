"""The store's own doing around the scripts: what it registers, and whose time it tells."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.testing.clock import FrozenClock


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
async def test_whoever_registers_a_queue_goes_by_the_brokers_clock(broker_settings, off):
    async with Connection.open(broker_settings) as connection:
        store = Store(connection, FrozenClock(datetime.now(UTC) + off))

        await store.register("default")

        seconds, micros = await connection.command("TIME")
        assert abs(store.now_ms() - int(seconds) * 1000 - int(micros) // 1000) < 60_000
