"""A database, a client without a loop, and what it has enqueued."""

import pytest
import redis
from sqlalchemy import create_engine

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.storage.keys import queue_keys


@pytest.fixture
def engine(database_url):
    engine = create_engine(database_url.replace("+aiosqlite", ""))
    yield engine
    engine.dispose()


@pytest.fixture
def client(broker_settings):
    with BlockingClient(broker_settings) as client:
        yield client


@pytest.fixture
def enqueued(broker_settings):
    """Return the ids of all tasks, in no order."""
    direct = redis.Redis(port=broker_settings.port, decode_responses=True)
    yield lambda: set(direct.hkeys(queue_keys("default").index))
    direct.close()
