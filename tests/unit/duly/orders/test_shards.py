"""A check that is divided among tasks, on a real broker and real databases."""

import io
import re
from datetime import timedelta
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import update

from duly.clock import SystemClock
from duly.engine.enqueue.client import Client
from duly.engine.middleware import Outcome
from duly.errors import ConfigError
from duly.flow import group, step
from duly.job import Job
from duly.jobs.orders import CheckOrdersShard, CheckPendingOrders, SumUpPendingOrders
from duly.orders import shards
from duly.orders.app import app, pending_orders, pending_orders_check, sharded_check
from duly.orders.check import PendingOrdersCheck
from duly.orders.database import OrdersDatabase
from duly.orders.policies import Changes, Every
from duly.orders.shards import ShardedCheck
from duly.orders.statements import SqlSource
from duly.orders.tables import ORDERS as TABLE
from duly.orders.totals import Totals
from duly.orders.view import View
from duly.runtime import logs
from duly.runtime.lines import LineWriter
from duly.runtime.order_settings import OrdersSettings, SqlSourceSettings
from duly.runtime.settings import DatabaseSettings, LogSettings, Settings
from duly.testing.idle import run_until_idle

ORDERS = SqlSourceSettings(
    orders="SELECT o.id AS order_id, c.username AS customer_username, c.email AS customer_email "
    "FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'pending'"
)


@pytest.fixture
def small(monkeypatch):
    """Shards are made for three orders already."""
    monkeypatch.setattr(shards, "SMALLEST", 3)


@pytest.fixture
def output():
    stream = io.StringIO()
    logs.configure(LogSettings(), service="test", stream=stream)
    return stream


@pytest.fixture
def settings(broker_settings, database_url):
    return Settings(
        redis=broker_settings,
        database=DatabaseSettings(url=SecretStr(database_url)),
        orders=OrdersSettings(shards=4),
    )


async def run(settings, **options):
    async with Client.connect(settings.redis, create_queues=True) as client:
        task = await client.enqueue(CheckPendingOrders())
    ran = await run_until_idle(settings.redis, app, configuration=settings, **options)
    return task.id, ran


def ids(output):
    return [
        int(found) for found in re.findall(r"Pending order found order_id=(\d+)", output.getvalue())
    ]


@pytest.mark.usefixtures("small")
async def test_each_order_is_logged_once_and_there_is_one_summary(settings, engine, fill, output):
    await fill(23, others=5)

    run_id, ran = await run(settings)

    kinds = [each.kind for each in ran]
    assert kinds.count(CheckOrdersShard.kind) == 4
    assert kinds.count(SumUpPendingOrders.kind) == 1
    assert {each.outcome for each in ran} == {Outcome.SUCCEEDED}
    assert sorted(ids(output)) == list(range(1, 24))
    (summary,) = re.findall(r"Pending orders checked .*", output.getvalue())
    assert "pending=23 logged=23 suppressed=0 " in summary
    assert " pages=4 " in summary
    assert summary.endswith(f"run_id={run_id}")


async def test_few_orders_are_checked_by_one_task(settings, engine, fill, output):
    await fill(23)

    _, ran = await run(settings)

    assert [each.kind for each in ran] == [CheckPendingOrders.kind]
    assert len(ids(output)) == 23


@pytest.mark.usefixtures("small")
async def test_shards_log_what_changed_since_the_last_whole_check(
    settings, engine, fill, output, inspector
):
    await fill(23)
    policy = Changes(timedelta(days=3650))
    async with OrdersDatabase.open(settings.database) as orders:
        check = PendingOrdersCheck(orders, LineWriter(settings.log), policy=policy)
        sharded = ShardedCheck(orders, check, inspector, shards=4, policy=policy)

        async def part(job, context):
            return (await sharded.part(job, context)).to_json()

        async def sum_up(job, context):
            return (await sharded.sum_up(job, context)).to_json()

        handlers = {
            CheckPendingOrders: sharded.begin,
            CheckOrdersShard: part,
            SumUpPendingOrders: sum_up,
        }

        async def logged():
            output.seek(0)
            output.truncate()
            async with Client.connect(settings.redis, create_queues=True) as client:
                await client.enqueue(CheckPendingOrders())
            ran = await run_until_idle(settings.redis, handlers, skip=timedelta(0))
            assert len(ran) == 6
            return sorted(ids(output))

        assert await logged() == list(range(1, 24))
        assert await logged() == []
        assert "pending=23 logged=0 suppressed=23 " in output.getvalue()
        async with engine.begin() as connection:
            now = SystemClock().now()
            await connection.execute(update(TABLE).where(TABLE.c.id == 5).values(updated_at=now))
        assert await logged() == [5]
        assert await logged() == []


@pytest.mark.usefixtures("small", "engine", "output")
async def test_the_quotient_of_the_metrics_is_what_is_pending(settings, fill, inspector):
    await fill(23)
    registry = CollectorRegistry()
    async with OrdersDatabase.open(settings.database) as orders:
        source = next(pending_orders(settings, orders, registry))
        check = next(pending_orders_check(settings, source, Every(), inspector))
        sharded = next(sharded_check(settings, source, check, Every(), inspector))

        async def part(job, context):
            return (await sharded.part(job, context)).to_json()

        handlers = {
            CheckPendingOrders: sharded.begin,
            CheckOrdersShard: part,
            SumUpPendingOrders: sharded.sum_up,
        }
        async with Client.connect(settings.redis, create_queues=True) as client:
            await client.enqueue(CheckPendingOrders())
        await run_until_idle(settings.redis, handlers, skip=timedelta(0))

    assert registry.get_sample_value("duly_orders_found_total") == 23
    assert registry.get_sample_value("duly_orders_sweeps_total") == 1


@pytest.mark.usefixtures("small", "engine")
async def test_no_check_begins_while_parts_of_the_last_one_are_to_come(
    settings, fill, output, client, inspector
):
    await fill(23)
    part = step(CheckOrdersShard(run_id="r"), task_id="r.part-1", delay=timedelta(hours=1))
    summary = SumUpPendingOrders(run_id="r", shards=1, begun_ms=0)
    await client.start(group([part], then=step(summary, task_id="r.summary")))
    await run(settings, skip=timedelta(0))

    assert ids(output) == []
    assert "Pending orders are still being checked" in output.getvalue()
    (join,) = await inspector.joins.list("default")
    assert join.task_id == "r.summary"

    await inspector.tasks.archive("default", "r.part-1")
    await run(settings)

    assert "Pending orders were not all checked run_id=r " in output.getvalue()
    assert await inspector.joins.list("default") == []
    assert sorted(ids(output)) == list(range(1, 24))


class FormerShard(Job, kind=CheckOrdersShard.kind, policy=CheckOrdersShard.policy):
    """A part as the release before knows it, which refuses what it does not know."""

    run_id: str
    after: tuple[str, str] | None = None
    until: tuple[str, str] | None = None


class LaterShard(Job, kind=CheckOrdersShard.kind, policy=CheckOrdersShard.policy):
    """A part as a later release may send it."""

    run_id: str
    after: tuple[str, str] | None = None
    until: tuple[str, str] | None = None
    begun_ms: int | None = None
    since_ms: int | None = None
    warehouse: str = "any"


class LaterSum(Job, kind=SumUpPendingOrders.kind, policy=SumUpPendingOrders.policy):
    """A summary as a later release may send it."""

    run_id: str
    shards: int
    begun_ms: int
    warehouse: str = "any"


@pytest.mark.usefixtures("small", "engine", "output")
async def test_a_worker_of_the_release_before_takes_parts_in_a_rollout(settings, fill, inspector):
    await fill(23)
    taken = []

    async def part(job, _):
        taken.append((job.after, job.until))
        return Totals().to_json()

    async with OrdersDatabase.open(settings.database) as orders:
        check = PendingOrdersCheck(orders, LineWriter(settings.log))
        sharded = ShardedCheck(orders, check, inspector, shards=4)
        async with Client.connect(settings.redis, create_queues=True) as client:
            await client.enqueue(CheckPendingOrders())
        handlers = {CheckPendingOrders: sharded.begin, FormerShard: part}
        ran = await run_until_idle(settings.redis, handlers, skip=timedelta(0))

    assert [each.outcome for each in ran if each.kind == FormerShard.kind] == [
        Outcome.SUCCEEDED
    ] * 4
    assert len(set(taken)) == 4


@pytest.mark.usefixtures("engine")
async def test_a_worker_takes_parts_of_the_release_after_it_in_a_rollout(
    settings, fill, output, client
):
    await fill(23)
    part = step(LaterShard(run_id="r", warehouse="north"), task_id="r.part-1")
    summary = LaterSum(run_id="r", shards=1, begun_ms=0, warehouse="north")
    await client.start(group([part], then=step(summary, task_id="r.summary")))

    ran = await run_until_idle(settings.redis, app, configuration=settings)

    assert {each.outcome for each in ran} == {Outcome.SUCCEEDED}
    assert sorted(ids(output)) == list(range(1, 24))
    assert "pending=23 logged=23 " in output.getvalue()


@pytest.mark.parametrize("parts", [1, 2, 4, 7, 40])
@pytest.mark.parametrize("source", ["builtin", "sql"])
async def test_parts_are_of_about_the_same_size(database, engine, fill, source, parts):
    await fill(23, others=5)
    opened = OrdersDatabase.open(database)
    if source == "sql":
        opened = SqlSource.open(View(database=database), ORDERS)

    async with opened as orders:
        bounds = await orders.bounds(parts, 2)

    ends = [0, *bounds, 23]
    sizes = [after - before for before, after in pairwise(ends)]
    assert len(sizes) <= parts
    assert sum(sizes) == 23
    assert max(sizes) == max(2, -(-23 // parts))
    assert min(sizes) > 0


async def test_nothing_pending_is_one_part(database, engine):
    async with OrdersDatabase.open(database) as orders:
        assert await orders.bounds(8, 1) == []


def test_a_source_that_cannot_be_divided_is_a_wrong_setting():
    with pytest.raises(ConfigError, match=r"^orders\.shards: .*cannot be divided"):
        ShardedCheck(object(), None, None, shards=2)
    ShardedCheck(object(), None, None, shards=1)
