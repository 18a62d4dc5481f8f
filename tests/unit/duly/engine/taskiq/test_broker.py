"""What taskiq-redis's own tests ask of a stream broker, and what a taskiq application needs of it.

Of their subjects these are kept: a message reaches one of two listeners and is acknowledged, the
length of a stream is bounded, what nobody acknowledges is not lost, all on each kind of broker.
Left out are those of lists and PUBSUB, of the lock around XAUTOCLAIM (leases take its place), and
of the length by trimming: nothing that was accepted is dropped.
"""

import asyncio
import subprocess
import sys
import uuid

import pytest
from taskiq import AckableMessage, TaskiqMessage
from taskiq.exceptions import SendTaskError
from taskiq.formatters.json_formatter import JSONFormatter
from taskiq.message import BrokerMessage
from taskiq.serializers import JSONSerializer, PickleSerializer

from duly import (
    BrokerDownError,
    DulyBroker,
    DuplicateTaskError,
    EnqueueError,
    QueueFullError,
    RedisSettings,
    TaskIdConflictError,
    TaskState,
)
from duly.testing.waiting import until


def broker_message(broker, name="task"):
    return broker.formatter.dumps(
        TaskiqMessage(
            task_id=uuid.uuid4().hex,
            task_name=name,
            labels={"label1": "val1"},
            args=[],
            kwargs={"some": "value"},
        )
    )


async def get_message(broker):
    async for message in broker.listen():
        return message
    return None


def with_task(settings, **options):
    broker = DulyBroker(settings, **options)

    @broker.task(task_name="task")
    async def task(some: str) -> None: ...

    return broker


async def test_one_of_two_listeners_gets_a_message_and_acknowledges_it(every_broker, until):
    brokers = [with_task(every_broker) for _ in range(2)]
    for broker in brokers:
        await broker.startup()
    listeners = [asyncio.create_task(get_message(broker)) for broker in brokers]
    sent = broker_message(brokers[0])

    await brokers[0].kick(sent)

    done, (waiting,) = await asyncio.wait(listeners, return_when=asyncio.FIRST_COMPLETED)
    (message,) = (task.result() for task in done)
    assert isinstance(message, AckableMessage)
    received = brokers[0].formatter.loads(message.data)
    assert received == brokers[0].formatter.loads(sent.message)
    waiting.cancel()
    await asyncio.wait({waiting})
    await message.ack()
    for broker in brokers:
        await broker.shutdown()


async def test_what_was_not_acknowledged_waits_again_after_a_shutdown(each_broker):
    first = with_task(each_broker)
    await first.kick(broker_message(first))
    message = await get_message(first)
    await first.shutdown()

    second = with_task(each_broker)
    again = await get_message(second)
    await second.shutdown()

    assert again.data == message.data


async def test_a_full_queue_refuses_and_keeps_what_it_has(each_broker, until):
    broker = with_task(each_broker, maxlen=20)

    sent = [broker_message(broker) for _ in range(20)]
    for message in sent:
        await broker.kick(message)
    with pytest.raises(QueueFullError, match="limit of 20"):
        await broker.kick(broker_message(broker))

    await broker.shutdown()


async def test_a_broker_that_does_not_answer_is_an_error_of_sending(tmp_path):
    broker = DulyBroker(RedisSettings(url=f"unix://{tmp_path}/nobody"))

    @broker.task
    async def task() -> None: ...

    with pytest.raises(SendTaskError) as raised:
        await task.kiq()
    assert isinstance(raised.value.__cause__, BrokerDownError)
    with pytest.raises(BrokerDownError):
        await broker.startup()
    await broker.shutdown()


async def test_a_delay_schedules_and_a_queue_name_routes(broker, inspector):
    @broker.task
    async def task(number: int) -> None: ...

    await task.kiq(1)
    await task.kicker().with_labels(delay=60).kiq(2)
    await task.kicker().with_labels(queue_name="low", priority=9).kiq(3)

    assert [task.payload for task in await tasks(inspector, "default")] == [{"*args": [1]}]
    assert [it.payload for it in await tasks(inspector, "default", TaskState.SCHEDULED)] == [
        {"*args": [2]}
    ]
    assert [task.payload for task in await tasks(inspector, "low")] == [{"*args": [3]}]


async def tasks(inspector, queue, state=TaskState.WAITING):
    return (await inspector.tasks.list(queue, state)).tasks


async def test_a_unique_task_is_refused_however_its_arguments_are_given(broker, inspector):
    @broker.task(duly_unique_for="10m")
    async def task(number: int, *, name: str = "x") -> None: ...

    first = await task.kiq(1)
    for args, kwargs in [((1,), {}), ((), {"number": 1})]:
        with pytest.raises(SendTaskError) as raised:
            await task.kiq(*args, **kwargs)
        assert isinstance(raised.value.__cause__, DuplicateTaskError)
        assert raised.value.__cause__.task_id == first.task_id
    await task.kiq(2)


async def test_an_id_is_taken_once(broker):
    @broker.task
    async def task() -> None: ...

    await task.kicker().with_task_id("mine").kiq()
    with pytest.raises(SendTaskError) as raised:
        await task.kicker().with_task_id("mine").kiq()
    assert isinstance(raised.value.__cause__, TaskIdConflictError)


async def test_another_broker_may_send_a_task(broker, broker_settings, inspector):
    other = DulyBroker(broker_settings, queue_name="other")

    @broker.task
    async def task() -> None: ...

    await task.kicker().with_broker(other).kiq()
    await other.shutdown()

    assert len(await tasks(inspector, "other")) == 1


@pytest.mark.parametrize("writes", ["with_serializer", "with_formatter"])
async def test_whatever_writes_json_serves(broker, run, writes):
    made = {"with_serializer": JSONSerializer(), "with_formatter": JSONFormatter()}
    getattr(broker, writes)(made[writes])

    @broker.task
    async def task(number: int) -> int:
        return number

    async with run(broker):
        assert (await (await task.kiq(1)).wait_result(timeout=60)).return_value == 1


async def test_what_is_not_json_is_refused(broker):
    broker.with_serializer(PickleSerializer())

    @broker.task
    async def task(number: int) -> None: ...

    with pytest.raises(SendTaskError) as raised:
        await task.kiq(1)
    assert "duly carries JSON" in str(raised.value.__cause__)


async def test_bytes_that_are_no_message_are_refused(broker):
    with pytest.raises(EnqueueError, match="not JSON"):
        await broker.kick(BrokerMessage(task_id="1", task_name="t", message=b"my_msg", labels={}))


async def test_many_send_at_once(broker, inspector):
    @broker.task
    async def task(number: int) -> None: ...

    await asyncio.wait([asyncio.create_task(task.kiq(number)) for number in range(200)])

    (report,) = [it for it in await inspector.queues.list() if it.name == "default"]
    assert report.waiting == 200


def test_a_producer_does_not_pay_for_the_worker():
    code = (
        "import sys; from duly import DulyBroker; DulyBroker('redis://h');"
        "print(*(name for name in sys.modules if name.startswith('duly.engine.worker')))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    assert done.stdout.split() == []


def test_a_broker_serves_one_loop_after_the_other(broker_settings):
    broker = DulyBroker(broker_settings)

    @broker.task
    async def task() -> None: ...

    async def send():
        async with broker:
            await task.kiq()

    for _ in range(2):
        asyncio.run(send())


async def test_a_server_is_made_of_a_broker_with_its_events(broker, by_server):
    assert broker.is_worker_process is False

    async with by_server(broker):
        assert broker.is_worker_process is True


async def test_reading_several_queues(broker_settings, run):
    broker = DulyBroker(broker_settings, additional_streams={"low": ">"})
    done = set()

    @broker.task
    async def task(number: int) -> None:
        done.add(number)

    async with run(broker):
        await task.kiq(1)
        await task.kicker().with_labels(queue_name="low").kiq(2)
        await until(lambda: done == {1, 2}, what="both")
