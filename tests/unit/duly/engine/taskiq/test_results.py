"""Results that the engine keeps, and other result backends beside it."""

import uuid
from datetime import timedelta

import pytest
from pydantic import BaseModel
from taskiq.exceptions import ResultGetError
from taskiq_redis import RedisAsyncResultBackend

from duly import DulyBroker, TaskState


class Invoice(BaseModel):
    number: int
    total: float


async def test_a_result_is_what_the_annotation_says(broker, run, inspector):
    @broker.task
    async def bill(number: int) -> Invoice:
        return Invoice(number=number, total=9.5)

    async with run(broker):
        sent = await bill.kicker().with_labels(customer="ada").kiq(7)
        result = await sent.wait_result(timeout=60)

    assert result.return_value == Invoice(number=7, total=9.5)
    assert result.labels == {"customer": "ada"}
    assert (await inspector.tasks.find(sent.task_id)).result == {"number": 7, "total": 9.5}


async def test_without_a_retention_there_is_no_result_and_the_error_says_what_to_do(
    broker_settings, run
):
    broker = DulyBroker(broker_settings)

    @broker.task
    async def work() -> int:
        return 1

    async with run(broker):
        with pytest.raises(ResultGetError) as raised:
            await (await work.kiq()).wait_result(timeout=60)
        assert "duly_retention" in str(raised.value.__cause__)
        sent = await work.kicker().with_labels(duly_retention=60).kiq()
        assert (await sent.wait_result(timeout=60)).return_value == 1


async def test_a_task_that_waits_has_no_result_yet(broker):
    @broker.task
    async def work() -> int:
        return 1

    sent = await work.kiq()

    assert not await sent.is_ready()
    with pytest.raises(ResultGetError) as raised:
        await sent.get_result()
    assert "it is waiting" in str(raised.value.__cause__)


async def test_an_error_of_the_applications_own_class_is_known_by_its_name(broker, run):
    class OutOfStockError(Exception): ...

    @broker.task
    async def order() -> None:
        raise OutOfStockError("no more books: all sold")

    async with run(broker):
        result = await (await order.kiq()).wait_result(timeout=60)

    assert type(result.error).__name__ == "OutOfStockError"
    assert str(result.error) == "no more books: all sold"


async def test_a_result_that_json_cannot_carry_is_lost_and_the_task_is_not(broker, run, inspector):
    @broker.task
    async def odd():
        return object()

    async with run(broker):
        sent = await odd.kiq()
        assert (await sent.wait_result(timeout=60)).return_value is None

    assert (await inspector.tasks.find(sent.task_id)).state is TaskState.COMPLETED


async def test_another_result_backend_takes_what_json_cannot(valkey_server, broker_settings, run):
    backend = RedisAsyncResultBackend(
        valkey_server.url, prefix_str=uuid.uuid4().hex, socket_timeout=20
    )
    broker = DulyBroker(broker_settings).with_result_backend(backend)

    @broker.task
    async def ages() -> dict[str, timedelta]:
        return {"ada": timedelta(days=1)}

    @broker.task
    async def fail() -> None:
        raise LookupError("nowhere")

    async with run(broker):
        good, bad = await ages.kiq(), await fail.kiq()
        assert (await good.wait_result(timeout=60)).return_value == {"ada": timedelta(days=1)}
        assert isinstance((await bad.wait_result(timeout=60)).error, LookupError)
