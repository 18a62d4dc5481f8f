"""A taskiq broker on a real Valkey, and the ways to run its tasks in the test's own loop."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from taskiq.receiver import Receiver

from duly import DulyBroker, DulyReceiver, Inspector, Server, ServerOptions
from duly.testing.waiting import until

HOUR = timedelta(hours=1)


@pytest.fixture
async def broker(broker_settings):
    """A broker that keeps the results of its tasks."""
    broker = DulyBroker(broker_settings, retention=HOUR)
    yield broker
    await broker.shutdown()


@asynccontextmanager
async def _until_stopped(broker, running, stop):
    task = asyncio.create_task(running)
    try:
        async with Inspector.connect(broker.settings) as inspector:
            await until(inspector.servers.list, what="a server")
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 90)


@asynccontextmanager
async def _server(broker, concurrency):
    options = ServerOptions(
        queues=broker.queues, concurrency=concurrency, lease=timedelta(seconds=10)
    )
    stop = asyncio.Event()
    async with (
        Server.open(broker.settings, options) as server,
        broker.serve(server),
        _until_stopped(broker, server.run(stop), stop),
    ):
        yield


@asynccontextmanager
async def _receiver(receiver_class, broker, concurrency, **options):
    stop = asyncio.Event()
    broker.is_worker_process = True
    receiver = receiver_class(broker, max_async_tasks=concurrency, **options)
    try:
        async with _until_stopped(broker, receiver.listen(stop), stop):
            yield
    finally:
        await broker.shutdown()


@pytest.fixture
def by_server():
    """`async with by_server(broker):` runs its tasks by `DulyBroker.serve`."""
    return lambda broker, concurrency=4: _server(broker, concurrency)


@pytest.fixture
def by_stock():
    """The same by taskiq's own receiver."""
    return lambda broker, concurrency=4, **options: _receiver(
        Receiver, broker, concurrency, **options
    )


@pytest.fixture
def by_receiver():
    """The same by `DulyReceiver`."""
    return lambda broker, concurrency=4, **options: _receiver(
        DulyReceiver, broker, concurrency, **options
    )


@pytest.fixture(params=["server", "stock", "receiver"])
def run(request):
    """The same in each way, one after the other."""
    return request.getfixturevalue(f"by_{request.param}")
