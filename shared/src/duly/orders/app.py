"""The check of pending orders: the application that runs where no other is named."""

from collections.abc import AsyncGenerator, Generator
from typing import Any

from prometheus_client import CollectorRegistry
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.engine.inspection.inspector import Inspector
from duly.jobs.orders import CheckOrdersShard, CheckPendingOrders, SumUpPendingOrders
from duly.orders.check import PendingOrdersCheck
from duly.orders.memory import Memory
from duly.orders.metrics import CountedDivisibleSource, CountedSource
from duly.orders.policies import LogPolicy, policy_of
from duly.orders.shards import Divisible, ShardedCheck
from duly.orders.source import Source
from duly.orders.sources import open_source
from duly.orders.view import view_of
from duly.runtime.lines import LineWriter
from duly.runtime.masking import mask_of
from duly.runtime.settings import Settings
from duly.schedule import Entry, Overlap
from duly.task import TaskContext

app = App("orders")


@app.lifespan
async def orders_source(settings: Settings = Depends()) -> AsyncGenerator[Source, None]:
    """Open the source of orders; the first check connects to it, unless it has to be checked."""
    async with open_source(settings) as source:
        yield source


@app.lifespan
def pending_orders(
    settings: Settings = Depends(),
    source: Source = Depends(orders_source),
    registry: CollectorRegistry = Depends(),
) -> Generator[CountedSource, None, None]:
    """Count what is read of it."""
    counted = CountedDivisibleSource if isinstance(source, Divisible) else CountedSource
    yield counted(source, registry, replica=view_of(settings).replica)


@app.lifespan
def log_policy(settings: Settings = Depends()) -> Generator[LogPolicy, None, None]:
    """Choose what is logged; one object sees every check of this worker."""
    yield policy_of(settings.orders)


@app.lifespan
async def broker(settings: Settings = Depends()) -> AsyncGenerator[Inspector, None]:
    """Open the broker, by which checks know of each other; it is connected to when first used."""
    async with Inspector.connect(settings.redis) as inspector:
        yield inspector


@app.lifespan
def pending_orders_check(
    settings: Settings = Depends(),
    source: CountedSource = Depends(pending_orders),
    policy: LogPolicy = Depends(log_policy),
    inspector: Inspector = Depends(broker),
) -> Generator[PendingOrdersCheck, None, None]:
    """Make the check, which writes into the worker's log."""
    lines, mask = LineWriter(settings.log), mask_of(settings.log)
    memory = Memory(inspector.notes, policy) if policy.times else None
    yield PendingOrdersCheck(
        source, lines, policy=policy, mask=mask, memory=memory, swept=source.count_sweep
    )


@app.lifespan
def sharded_check(
    settings: Settings = Depends(),
    source: CountedSource = Depends(pending_orders),
    check: PendingOrdersCheck = Depends(pending_orders_check),
    policy: LogPolicy = Depends(log_policy),
    inspector: Inspector = Depends(broker),
) -> Generator[ShardedCheck, None, None]:
    """Make the check that workers share."""
    shards = settings.orders.shards
    yield ShardedCheck(source, check, inspector, shards=shards, policy=policy)


@app.handler(CheckPendingOrders)
async def check_pending_orders(
    job: CheckPendingOrders,
    settings: Settings = Depends(),
    context: TaskContext = Depends(),
    check: PendingOrdersCheck = Depends(pending_orders_check),
    sharded: ShardedCheck = Depends(sharded_check),
) -> None:
    """Log every pending order, or divide them among tasks."""
    await (check(job, context) if settings.orders.shards == 1 else sharded.begin(job, context))


@app.handler(CheckOrdersShard)
async def check_orders_shard(
    job: CheckOrdersShard,
    context: TaskContext = Depends(),
    sharded: ShardedCheck = Depends(sharded_check),
) -> dict[str, Any]:
    """Log the pending orders of a shard, and return its totals."""
    return (await sharded.part(job, context)).to_json()


@app.handler(SumUpPendingOrders)
async def sum_up_pending_orders(
    job: SumUpPendingOrders,
    context: TaskContext = Depends(),
    sharded: ShardedCheck = Depends(sharded_check),
) -> dict[str, Any]:
    """Log the summary of all shards, and return what they add up to."""
    return (await sharded.sum_up(job, context)).to_json()


@app.timetable
def timetable(settings: Settings = Depends()) -> tuple[Entry, ...]:
    """Return when orders are checked. The id is stable: claims and history depend on it."""
    return (
        Entry(
            id="check-pending-orders",
            job=CheckPendingOrders(),
            interval=settings.scheduler.interval,
            overlap=Overlap.SKIP,
        ),
    )
