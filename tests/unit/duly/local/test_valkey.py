"""The embedded Valkey."""

import pytest
from redis.asyncio import Redis

from duly.clock import SystemClock
from duly.errors import BrokerDownError
from duly.local import valkey
from duly.local.ports import free_ports
from duly.local.processes import supervise


@pytest.fixture
def served(terminal, tmp_path):
    """An `async with` that serves the directory and gives a client."""

    class Served:
        async def __aenter__(self):
            port = free_ports(1)[0]
            self._supervised = supervise(terminal.console(), clock=SystemClock())
            supervisor = await self._supervised.__aenter__()
            supervisor.keep(valkey.command(valkey.binary(), port=port, data_dir=tmp_path, stage=2))
            await valkey.until_ready(port, tmp_path)
            self._client = Redis.from_url(valkey.address(port), decode_responses=True)
            return self._client

        async def __aexit__(self, *error):
            await self._client.aclose()
            await self._supervised.__aexit__(*error)

    return Served


async def test_data_outlives_the_server(served):
    async with served() as client:
        await client.set("key", "kept")

    async with served() as client:
        assert await client.get("key") == "kept"


async def test_server_neither_evicts_nor_listens_beyond_loopback(served):
    async with served() as client:
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert await client.config_get("bind") == {"bind": "127.0.0.1"}
        assert await client.config_get("protected-mode") == {"protected-mode": "yes"}


async def test_a_server_that_does_not_start_is_reported_with_its_log(tmp_path):
    valkey.log_path(tmp_path).write_text("one\nBad directive\n")

    with pytest.raises(BrokerDownError, match="Bad directive"):
        await valkey.until_ready(free_ports(1)[0], tmp_path, timeout_seconds=0.05)
