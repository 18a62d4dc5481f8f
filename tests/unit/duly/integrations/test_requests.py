import pytest

from duly.engine.enqueue.request import Request
from duly.errors import BrokerDownError, InvalidOptionError
from duly.integrations.requests import NotEnqueuedError, request_of
from duly.job import Job


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


def test_a_request_has_an_id_that_stays():
    request, task_id = request_of(Bill(order_id=1), {"queue": "low"})
    other, _ = request_of(Bill(order_id=1), {})

    assert (request.task_id, request.queue) == (task_id, "low")
    assert other.task_id != task_id
    assert request_of(Bill(order_id=1), {"task_id": "mine"})[1] == "mine"


def test_what_is_wrong_is_refused_at_once():
    with pytest.raises(InvalidOptionError):
        request_of(Bill(order_id=1), {"max_attempts": 0})


def test_the_error_names_the_kinds_and_the_first_cause():
    failed = [(Request(job=Bill(order_id=1)), BrokerDownError("here"))] * 2

    assert str(NotEnqueuedError(failed)).startswith(
        "the transaction is committed, but 2 of its jobs (bill) could not be enqueued: the broker"
    )
