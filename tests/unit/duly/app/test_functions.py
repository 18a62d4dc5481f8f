from datetime import timedelta

import pytest
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.errors import DulyError, InvalidOptionError, InvalidPayloadError
from duly.flow import Step
from duly.job import Job, Policy
from duly.runtime.running import DATA_DIR, Running, announce, sole_runner
from duly.runtime.settings import DEFAULT_QUEUES
from duly.task import TaskContext

app = App("shop")


class Described(Job, kind="described", policy=Policy(queue="reports")):
    """Known by the catalogue in the broker only."""


@app.task(queue="low", max_attempts=5)
async def send_invoice(
    order_id: int, note: str = "", context: TaskContext = Depends(), mail: str = Depends(str)
) -> str:
    """Send an invoice."""
    return f"{order_id} {note} {mail}"


def test_a_task_is_still_the_function():
    assert send_invoice.__name__ == "send_invoice"
    assert send_invoice.__doc__ == "Send an invoice."
    assert repr(send_invoice).startswith("<task send_invoice of ")


async def test_called_it_runs_here():
    context = TaskContext(id="a", queue="low", kind="send_invoice")

    assert await send_invoice(7, "now", context=context, mail="post") == "7 now post"


def test_its_job_has_the_arguments_as_fields():
    job = send_invoice.job(7, note="now")

    assert (job.kind, job.policy.queue, job.policy.max_attempts) == ("send_invoice", "low", 5)
    assert job.model_dump() == {"order_id": 7, "note": "now"}
    assert send_invoice.job(order_id=7, note="now") == job
    assert isinstance(job, send_invoice.payload)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "expected"),
    [
        ((), {}, TypeError, r"send_invoice\(\) needs 'order_id'; it takes: order_id, note"),
        ((1, "a", "b"), {}, TypeError, r"send_invoice\(\) takes 2 arguments: order_id, note"),
        ((1,), {"order_id": 2}, TypeError, "two values for 'order_id'"),
        ((1,), {"ordr": 2}, TypeError, "takes no 'ordr'; it takes: order_id, note"),
        ((1,), {"mail": "x"}, TypeError, "the worker provides 'mail'; leave it out"),
        (("x",), {}, InvalidPayloadError, "field 'order_id' does not fit"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args, kwargs, error, expected):
    with pytest.raises(error, match=expected):
        send_invoice.job(*args, **kwargs)


async def test_where_no_broker_is_named_that_of_duly_up_in_this_directory_is_found(
    valkey_server, broker_settings, inspector, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with sole_runner(DATA_DIR):
        announce(DATA_DIR, Running(pid=42, redis_url=valkey_server.url))
        async with app.connect():
            await send_invoice.enqueue(7)
        with app.connect_blocking():
            send_invoice.enqueue_blocking(8)

    assert (await inspector.queues.get("low")).waiting == 2


async def test_without_a_connection_nothing_can_be_enqueued():
    with pytest.raises(DulyError, match=r"'shop' is not connected: .*async with app.connect"):
        await send_invoice.enqueue(7)
    with pytest.raises(DulyError, match=r"'shop' is not connected: .*with app.connect_blocking"):
        send_invoice.enqueue_blocking(7)


async def test_calls_are_enqueued_with_and_without_options(broker_settings):
    async with app.connect(broker_settings, DEFAULT_QUEUES):
        plain = await send_invoice.enqueue(7)
        later = await send_invoice.options(delay=timedelta(hours=1), queue="default").enqueue(8)

    assert (plain.queue, plain.payload) == ("low", {"order_id": 7, "note": ""})
    assert (later.queue, later.state, later.payload["order_id"]) == ("default", "scheduled", 8)


async def test_an_app_that_is_given_a_url_learns_its_queues_from_the_broker(valkey_server, store):
    async with app.connect(valkey_server.url):
        await send_invoice.enqueue(7)
        elsewhere = await send_invoice.options(queue="default").enqueue(8)
        assert elsewhere.queue == "default"
    await KindPublisher(store).publish([*app.kinds.values(), Described])

    async with app.connect(valkey_server.url):
        described = await send_invoice.options(queue="reports").enqueue(9)
        assert described.queue == "reports"
        with pytest.raises(InvalidOptionError, match="did you mean 'reports'"):
            await send_invoice.options(queue="report").enqueue(10)
    with app.connect_blocking(valkey_server.url):
        send_invoice.options(queue="reports").enqueue_blocking(11)


def test_calls_are_enqueued_without_a_loop(broker_settings):
    with app.connect_blocking(broker_settings):
        plain = send_invoice.enqueue_blocking(7)
        named = send_invoice.options(task_id="mine").enqueue_blocking(8)

    assert (plain.payload["order_id"], named.id) == (7, "mine")


def test_a_call_can_be_a_step_of_a_flow():
    found = send_invoice.options(queue="critical").step(7)

    assert found == Step(send_invoice.job(7), {"queue": "critical"})
