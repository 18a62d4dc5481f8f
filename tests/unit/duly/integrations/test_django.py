"""What is enqueued on commit follows Django's transactions."""

import django
import pytest
from django.conf import settings as django_settings
from django.db import connections, transaction

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.errors import BrokerDownError, InvalidOptionError
from duly.integrations.django import enqueue_on_commit
from duly.integrations.requests import NotEnqueuedError
from duly.job import Job
from duly.runtime.settings import RedisSettings
from duly.testing.processes import free_port


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


@pytest.fixture(autouse=True)
def database():
    """Django with a database in memory."""
    if not django_settings.configured:
        engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        django_settings.configure(DATABASES={"default": engine}, USE_TZ=True)
        django.setup()
    yield
    connections.close_all()


def test_jobs_are_enqueued_once_the_transaction_is_committed(client, enqueued):
    with transaction.atomic():
        first = enqueue_on_commit(client, Bill(order_id=1))
        enqueue_on_commit(client, Bill(order_id=2), task_id="mine")
        assert enqueued() == set()

    assert enqueued() == {first, "mine"}
    enqueue_on_commit(client, Bill(order_id=3), task_id="at once")
    assert enqueued() == {first, "mine", "at once"}


def test_nothing_is_enqueued_when_it_or_its_savepoint_is_rolled_back(client, enqueued):
    with transaction.atomic():
        enqueue_on_commit(client, Bill(order_id=1))
        transaction.set_rollback(True)
    with transaction.atomic():
        enqueue_on_commit(client, Bill(order_id=1), task_id="before")
        with transaction.atomic():
            enqueue_on_commit(client, Bill(order_id=2), task_id="taken back")
            transaction.set_rollback(True)

    assert enqueued() == {"before"}


def test_errors_are_raised_before_and_after_the_commit(client, enqueued, caplog):
    with pytest.raises(InvalidOptionError):
        enqueue_on_commit(client, Bill(order_id=1), task_id="")
    with BlockingClient(RedisSettings(port=free_port())) as down:
        block = transaction.atomic()
        block.__enter__()
        enqueue_on_commit(down, Bill(order_id=1), task_id="lost")
        with pytest.raises(NotEnqueuedError, match="is committed") as caught:
            block.__exit__(None, None, None)
        with transaction.atomic():
            enqueue_on_commit(down, Bill(order_id=1), robust=True)
            enqueue_on_commit(client, Bill(order_id=2), task_id="arrived")

    assert isinstance(caught.value.causes[0], BrokerDownError)
    assert "is committed, but 1 of its jobs" in caplog.text
    client.enqueue_many(caught.value.requests)
    assert enqueued() == {"arrived", "lost"}
