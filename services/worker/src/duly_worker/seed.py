"""Fills an empty orders database with demo orders, and keeps adding and completing some."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import structlog
from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from duly.clock import Clock, SystemClock
from duly.errors import ConfigError
from duly.orders.session import OrdersDownError, exclusive, explained, open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS, OrderStatus
from duly_worker import demo
from duly_worker.settings import Settings

APPLICATION = "duly-seed"
ORDER_COUNT = 240
PENDING_COUNT = 40
"""Pending orders after `seed`; about as many while `trickle` runs."""
CANCELLED_SHARE = 0.1
MOST_ORDERS = 2000
"""Beyond so many, `trickle` deletes the oldest orders that are not pending."""
PERIOD = timedelta(seconds=7)
_RECENT = 60
"""The pending orders are among this many newest ones."""
_BETWEEN_ORDERS = timedelta(minutes=17)
_WOBBLE = 2
_DICE_SEED = 20_240_229


@dataclass(frozen=True, slots=True)
class Changes:
    """What one run of the trickle changed, in orders."""

    added: int
    completed: int
    deleted: int


async def seed(settings: Settings, *, clock: Clock | None = None) -> int:
    """Store the demo orders and return how many; 0 if the database already holds orders.

    All or none, the same ones each time. Idempotent, also for several processes at once.

    Raises:
        ConfigError: The address is wrong, or the database has no schema.
        OrdersDownError: The database does not answer.
    """
    now = (clock or SystemClock()).now()
    with explained(settings.database):
        async with (
            open_engine(settings.database, application=APPLICATION) as engine,
            exclusive(engine) as connection,
        ):
            if await connection.scalar(select(ORDERS.c.id).limit(1)) is not None:
                return 0
            await _fill(connection, Random(_DICE_SEED), now)  # noqa: S311 - a demo, no secret
            return ORDER_COUNT


async def trickle(
    settings: Settings,
    stop: asyncio.Event,
    *,
    period: timedelta = PERIOD,
    clock: Clock | None = None,
) -> None:
    """Add an order or two each `period` and complete old ones, until `stop` is set.

    If the database does not answer, the next period tries again.

    Raises:
        ConfigError: The address is wrong, there is no schema, or there are real orders, which would
            be completed and deleted.
    """
    log = structlog.get_logger("duly.demo")
    dice, clock = Random(), clock or SystemClock()  # noqa: S311 - a demo, no secret
    async with open_engine(settings.database, application=APPLICATION) as engine:
        while not stop.is_set():
            try:
                with explained(settings.database):
                    await run_once(engine, dice, clock.now())
            except OrdersDownError as error:
                log.warning("Demo orders not changed", error=str(error))
            try:
                async with asyncio.timeout(period.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue


async def run_once(
    engine: AsyncEngine, dice: Random, now: datetime, *, most_orders: int = MOST_ORDERS
) -> Changes:
    """Add one or two orders, complete the oldest pending ones, delete the oldest of the others.

    Raises:
        ConfigError: There are customers who are not the demo's.
    """
    async with exclusive(engine) as connection:
        await _refuse_real_orders(connection)
        drafts = [demo.draft(dice) for _ in range(dice.randint(1, 2))]
        await _add(connection, drafts, [(OrderStatus.PENDING, now)] * len(drafts))
        completed = await _complete(
            connection, PENDING_COUNT + dice.randint(-_WOBBLE, _WOBBLE), now
        )
        deleted = await _prune(connection, most_orders)
        return Changes(len(drafts), completed, deleted)


async def _fill(connection: AsyncConnection, dice: Random, now: datetime) -> None:
    await connection.execute(
        insert(CUSTOMERS),
        [{"username": name, "email": demo.email(name)} for name in demo.USERNAMES],
    )
    await connection.execute(
        insert(PRODUCTS), [{"name": name, "unit_price": price} for name, price in demo.PRODUCTS]
    )
    pending = set(dice.sample(range(ORDER_COUNT - _RECENT, ORDER_COUNT), PENDING_COUNT))
    states = [
        (_status(dice, number in pending), now - (ORDER_COUNT - number) * _BETWEEN_ORDERS)
        for number in range(ORDER_COUNT)
    ]
    await _add(connection, [demo.draft(dice) for _ in states], states)


def _status(dice: Random, pending: bool) -> OrderStatus:  # noqa: FBT001 - a private pair of cases
    if pending:
        return OrderStatus.PENDING
    return OrderStatus.CANCELLED if dice.random() < CANCELLED_SHARE else OrderStatus.COMPLETED


async def _add(
    connection: AsyncConnection,
    drafts: Sequence[demo.Draft],
    states: Sequence[tuple[OrderStatus, datetime]],
) -> None:
    """Store the drafts, each with its status and the instant of its creation."""
    customers = dict((await connection.execute(select(CUSTOMERS.c.username, CUSTOMERS.c.id))).all())
    products = dict((await connection.execute(select(PRODUCTS.c.name, PRODUCTS.c.id))).all())
    statement = insert(ORDERS).returning(ORDERS.c.id, sort_by_parameter_order=True)
    rows = [
        {
            "customer_id": customers[demo.USERNAMES[draft.customer]],
            "status": status,
            "created_at": instant,
            "updated_at": instant,
        }
        for draft, (status, instant) in zip(drafts, states, strict=True)
    ]
    order_ids = (await connection.scalars(statement, rows)).all()
    items = []
    for order_id, draft in zip(order_ids, drafts, strict=True):
        for product, quantity in draft.lines:
            name, price = demo.PRODUCTS[product]
            item = {"order_id": order_id, "product_id": products[name], "quantity": quantity}
            items.append({**item, "unit_price": price})
    await connection.execute(insert(ORDER_ITEMS), items)


async def _complete(connection: AsyncConnection, pending: int, now: datetime) -> int:
    """Complete the oldest pending orders until `pending` are left; return how many were."""
    is_pending = ORDERS.c.status == OrderStatus.PENDING
    excess = await _count(connection, is_pending) - pending
    if excess <= 0:
        return 0
    oldest = select(ORDERS.c.id).where(is_pending).order_by(ORDERS.c.id).limit(excess)
    done = {"status": OrderStatus.COMPLETED, "updated_at": now}
    await connection.execute(update(ORDERS).where(ORDERS.c.id.in_(oldest)).values(done))
    return excess


async def _prune(connection: AsyncConnection, most_orders: int) -> int:
    """Delete the oldest orders that are not pending beyond `most_orders`; return how many."""
    ended = ORDERS.c.status != OrderStatus.PENDING
    excess = min(await _count(connection) - most_orders, await _count(connection, ended))
    if excess <= 0:
        return 0
    oldest = select(ORDERS.c.id).where(ended).order_by(ORDERS.c.id).limit(excess)
    # Their items go with them, by the foreign key.
    await connection.execute(delete(ORDERS).where(ORDERS.c.id.in_(oldest)))
    return excess


async def _refuse_real_orders(connection: AsyncConnection) -> None:
    real = select(CUSTOMERS.c.id).where(CUSTOMERS.c.email.not_like(f"%@{demo.DOMAIN}")).limit(1)
    if await connection.scalar(real) is not None:
        raise ConfigError(
            "database.url",
            "holds customers that are no demo; --trickle would complete and delete their orders",
            remedy="use an empty database",
        )


async def _count(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(ORDERS).where(*conditions)
    return await connection.scalar(query) or 0
