import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.enqueue.request import Request
from duly.engine.transport.connection import Connection
from duly.errors import BrokerError, InvalidOptionError
from duly.flow import chain, group, step
from duly.job import Job, Policy
from duly.runtime.settings import QueueSettings
from duly.task import Task

QUEUES = {"default": QueueSettings(), "low": QueueSettings()}


class Greet(Job, kind="greet"):
    number: int = 0


class Elsewhere(Job, kind="elsewhere", policy=Policy(queue="mail")):
    pass


@pytest.fixture
async def declared(broker_settings):
    async with Client.connect(broker_settings, QUEUES) as client:
        yield client


async def test_a_mistyped_queue_is_refused_with_the_one_that_was_meant(declared, store):
    with pytest.raises(InvalidOptionError, match=r"did you mean 'low'\?.*default, low"):
        await declared.enqueue(Greet(), queue="lwo")

    assert not await store.connection.command("SMEMBERS", "duly:queues")


async def test_a_policy_that_names_an_undeclared_queue_is_refused(declared):
    with pytest.raises(InvalidOptionError, match="'mail' is declared neither"):
        await declared.enqueue(Elsewhere())


@pytest.mark.parametrize(
    "flow",
    [
        chain(Greet(), step(Greet(), queue="lwo")),
        group([Greet(), chain(Greet(), step(Greet(), queue="lwo"))]),
        group([Greet()], then=Elsewhere()),
    ],
    ids=["chain", "group", "then"],
)
async def test_a_flow_with_an_undeclared_queue_is_refused_whole(declared, store, flow):
    with pytest.raises(InvalidOptionError, match="declared neither"):
        await declared.start(flow)

    assert not await store.connection.command("SMEMBERS", "duly:queues")


async def test_of_many_only_those_with_an_undeclared_queue_are_refused(declared, inspector):
    found = await declared.try_enqueue_many([Greet(), Request(job=Greet(), queue="lwo"), Greet()])

    assert [type(answer) for answer in found] == [Task, InvalidOptionError, Task]
    assert (await inspector.queues.get("default")).waiting == 2


@pytest.fixture
async def undeclared(broker_settings):
    """A client that was told of no queues."""
    async with Client.connect(broker_settings) as client:
        yield client


@pytest.fixture
def published(store):
    """Publish kinds, as workers and schedulers do."""

    async def publish(*jobs):
        await KindPublisher(store).publish(jobs or (Greet,))

    return publish


@pytest.fixture
def asked(store, monkeypatch):
    """Which commands any connection sends beside its scripts."""
    sent, command = [], Connection.command

    async def counted(self, *args):
        sent.append(args[0])
        return await command(self, *args)

    monkeypatch.setattr(Connection, "command", counted)
    return sent


async def test_before_a_worker_has_published_its_kinds_any_queue_will_do(undeclared):
    for queue in ("default", "whatever", "another", "whatever"):
        assert (await undeclared.enqueue(Greet(), queue=queue)).queue == queue


async def test_a_queue_with_a_task_does_not_close_the_others(broker_settings, undeclared):
    await undeclared.enqueue(Greet())
    async with Client.connect(broker_settings) as another:
        assert (await another.enqueue(Greet(), queue="low")).queue == "low"


async def test_a_queue_that_neither_settings_nor_broker_know_is_refused(
    undeclared, store, published
):
    await store.register("reports")
    await published()
    for _ in range(2):
        with pytest.raises(InvalidOptionError, match=r"did you mean 'reports'\?.*create_queues"):
            await undeclared.enqueue(Greet(), queue="report")
    with pytest.raises(InvalidOptionError, match="neither in the settings nor in the broker"):
        await undeclared.start(chain(Greet(), step(Greet(), queue="report")))

    assert await store.connection.command("SMEMBERS", "duly:queues") == [b"reports"]


async def test_the_queues_of_published_kinds_are_known(declared, undeclared, published):
    await published(Greet, Elsewhere)

    assert (await undeclared.enqueue(Greet(), queue="mail")).queue == "mail"
    assert (await declared.enqueue(Elsewhere())).queue == "mail"
    with pytest.raises(InvalidOptionError, match=r"did you mean 'mail'\?"):
        await undeclared.enqueue(Greet(), queue="mial")


async def test_a_queue_that_the_broker_knows_needs_no_declaration(declared, undeclared, store):
    await store.register("reports")

    assert (await undeclared.enqueue(Greet(), queue="reports")).queue == "reports"
    assert (await declared.enqueue(Greet(), queue="reports")).queue == "reports"


async def test_the_queue_of_a_policy_is_declared_by_it_where_the_settings_say_nothing(
    undeclared, store
):
    await store.register("reports")

    assert (await undeclared.enqueue(Elsewhere())).queue == "mail"
    assert await undeclared.start(group([Greet()], then=Elsewhere()))


async def test_a_queue_that_is_registered_later_is_found(undeclared, store, published, until):
    await published()
    with pytest.raises(InvalidOptionError):
        await undeclared.enqueue(Greet(), queue="later")
    await store.register("later")

    async def accepted():
        try:
            return await undeclared.enqueue(Greet(), queue="later")
        except InvalidOptionError:
            return None

    await until(accepted)


async def test_what_is_known_is_not_asked_again(undeclared, store, asked):
    await store.register("reports")
    await store.register("default")
    asked.clear()
    for _ in range(5):
        await undeclared.enqueue(Greet(), queue="reports")
    await undeclared.enqueue_many([Greet(), Request(job=Greet(), queue="reports")] * 5)

    assert asked.count("SMEMBERS") == len(("used", "published"))


async def test_who_says_so_may_create_queues(broker_settings, published):
    await published()
    async with Client.connect(broker_settings, QUEUES, create_queues=True) as client:
        assert (await client.enqueue(Greet(), queue="new")).queue == "new"


async def test_a_broker_that_does_not_say_which_queues_it_has_takes_any(undeclared, monkeypatch):
    command = Connection.command

    async def refuse(self, *args):
        if args[0] == "SMEMBERS":
            raise BrokerError("NOPERM this user has no permissions")
        return await command(self, *args)

    monkeypatch.setattr(Connection, "command", refuse)

    assert (await undeclared.enqueue(Greet(), queue="whatever")).queue == "whatever"
