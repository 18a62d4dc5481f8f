import gc

import pytest

from duly.engine.connection import Connection
from duly.errors import BrokerError


@pytest.mark.parametrize("server", ["valkey_server", "cluster_server"])
async def test_several_errors_of_one_trip_leave_none_that_nobody_saw(server, request, caplog):
    broker = request.getfixturevalue(server)
    broker.flush()
    async with Connection.open(broker.settings()) as connection:
        await connection.command("SET", "a", "1")
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            await connection.many([("LPUSH", "a", 1), ("LPUSH", "a", 2), ("GET", "a")])
        assert await connection.command("GET", "a") == b"1"
        gc.collect()

    assert caplog.records == []
