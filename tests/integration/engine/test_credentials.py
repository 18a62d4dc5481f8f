"""Credentials that the broker refuses: a worker says so, is not ready, and begins once it may."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from duly.engine.worker.server import Server, ServerOptions
from duly.errors import BrokerPolicyError
from duly.testing.waiting import until

OPTIONS = ServerOptions(queues={"default": 1}, concurrency=1, lease=timedelta(seconds=30))


@pytest.fixture
def user(valkey_server):
    """The settings of a user that the broker does not know yet, and a way to make it known."""
    with valkey_server.client(admin=True) as admin:

        def allow(password):
            rules = ("reset", "on", f">{password}", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", "late", *rules)

        yield allow
        admin.execute_command("ACL", "DELUSER", "late")


async def test_a_worker_whose_credentials_are_refused_waits_and_says_so(broker_settings, user):
    user("another")
    update = {"username": "late", "password": SecretStr("open-sesame"), "url": None}
    stop = asyncio.Event()

    with capture_logs() as logs:
        async with (
            Server.open(broker_settings.model_copy(update=update), OPTIONS) as server,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(server.run(stop))
            await until(lambda: "refused the credentials" in str(server.ready()))
            assert "redis.password" in server.ready()
            assert "open-sesame" not in server.ready()
            assert server.liveness() is None

            user("open-sesame")

            await until(lambda: server.ready() is None)
            assert not running.done()
            stop.set()

    told = [line for line in logs if "refused the credentials" in str(line.get("error"))]
    assert [line["event"] for line in told] == ["Broker unreachable, retrying"]


async def test_a_broker_that_may_evict_tasks_ends_a_worker(broker_settings, valkey_server):
    with valkey_server.client(admin=True) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            async with Server.open(broker_settings, OPTIONS) as server:
                with pytest.raises(BrokerPolicyError):
                    await server.run(asyncio.Event())
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
