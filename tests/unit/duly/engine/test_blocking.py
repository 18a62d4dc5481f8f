from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from duly.engine.blocking import BlockingClient
from duly.engine.requests import Request
from duly.errors import BrokerDownError, DulyError, TaskIdConflictError
from duly.jobs import CheckPendingOrders
from duly.runtime.settings import RedisSettings
from duly.task import TaskState
from duly.testing.processes import free_port


def test_it_enqueues_without_a_loop(broker_settings):
    with BlockingClient(broker_settings) as client:
        waiting = client.enqueue(CheckPendingOrders())
        scheduled = client.enqueue(CheckPendingOrders(), delay=timedelta(minutes=1), queue="low")

    assert (waiting.state, waiting.queue) == (TaskState.WAITING, "default")
    assert (scheduled.state, scheduled.queue) == (TaskState.SCHEDULED, "low")


def test_errors_reach_the_caller(broker_settings):
    with BlockingClient(broker_settings) as client:
        client.enqueue(CheckPendingOrders(), task_id="mine")

        with pytest.raises(TaskIdConflictError):
            client.enqueue(CheckPendingOrders(), task_id="mine")
        refused, accepted = client.try_enqueue_many(
            [Request(job=CheckPendingOrders(), task_id="mine"), CheckPendingOrders()]
        )

    assert isinstance(refused, TaskIdConflictError)
    assert accepted.state is TaskState.WAITING


def test_many_threads_share_one(broker_settings):
    with BlockingClient(broker_settings) as client, ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: client.enqueue(CheckPendingOrders()), range(200)))

    assert len({task.id for task in tasks}) == 200


def test_a_broker_that_is_away_is_told_at_the_call():
    port = free_port()
    with (
        BlockingClient(RedisSettings(port=port)) as client,
        pytest.raises(BrokerDownError, match=str(port)),
    ):
        client.enqueue(CheckPendingOrders())


def test_it_says_that_it_is_not_open(broker_settings):
    with pytest.raises(DulyError, match="context manager"):
        BlockingClient(broker_settings).enqueue(CheckPendingOrders())
