"""One pass over all pending orders, in one of four ways: run by sweep.py in a process each.

python sweep_sides.py SIDE URL LEVEL FORMAT: lines go to standard output, figures to standard error.
"""

import asyncio
import gc
import json
import resource
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

_PAUSE_SECONDS = 0.005
_PAGE = 1_000
_ORDERS = """
SELECT orders.id, username, email FROM orders JOIN customers ON customers.id = customer_id
WHERE status = 'pending'
"""
_ITEMS = """
SELECT order_items.id, name, quantity, order_items.unit_price FROM order_items
JOIN orders ON orders.id = order_id JOIN products ON products.id = product_id
WHERE status = 'pending'
"""
_ORDER_LINE = (
    "2026-11-25T03:00:00.123Z INFO  Pending order found "
    "order_id=%s customer_username=%s customer_email=%s\n"
)
_ITEM_LINE = (
    "2026-11-25T03:00:00.123Z DEBUG Order item details id=%s product_name=%s quantity=%s "
    "unit_price=%s\n"
)


def _resident_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


async def _ticking(stalls: list[float]) -> None:
    """Note how much later than asked for the loop comes back, again and again."""
    while True:
        asked = time.perf_counter() + _PAUSE_SECONDS
        await asyncio.sleep(_PAUSE_SECONDS)
        stalls.append(max(0.0, time.perf_counter() - asked))


async def measured(run: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Return wall and CPU seconds, growth of the memory and stalls of the loop of one pass."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # As in a worker, for every side.
    Path("/proc/self/clear_refs").write_text("5")  # The peak of the memory begins anew.
    before = _resident_bytes("VmRSS")
    stalls: list[float] = []
    ticking = asyncio.create_task(_ticking(stalls))
    used, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await run()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    ticking.cancel()
    ordered = sorted(stalls) or [0.0]
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "grown": (_resident_bytes("VmHWM") - before) / 2**20,
        "stall_p99": ordered[int(len(ordered) * 0.99)] * 1000,
        "stall_max": ordered[-1] * 1000,
    }


async def duly(url: str, level: str, form: str, policy: str = "every") -> dict[str, float]:
    """Run the check itself, with the log that a worker has.

    With another policy than `every`, what is measured is the second check: nothing has changed.
    """
    from duly.jobs.orders import CheckPendingOrders
    from duly.orders.check import PendingOrdersCheck
    from duly.orders.database import OrdersDatabase
    from duly.orders.policies import policy_of
    from duly.runtime import logs
    from duly.runtime.lines import LineWriter
    from duly.runtime.order_settings import OrdersSettings
    from duly.runtime.settings import DatabaseSettings, LogSettings
    from duly.task import TaskContext

    output = logs.configure(LogSettings(level=level, format=form), service="worker")
    context = TaskContext(id="bench", queue="default", kind=CheckPendingOrders.kind)
    async with OrdersDatabase.open(DatabaseSettings(url=url)) as orders:
        await orders.engine()
        chosen = policy_of(OrdersSettings.model_validate({"log": policy}))
        check = PendingOrdersCheck(orders, LineWriter(), policy=chosen)
        if policy != "every":
            await check(CheckPendingOrders(), context)

        async def run() -> None:
            await check(CheckPendingOrders(), context)
            output.flush(60)

        return await measured(run)


async def usual(url: str, level: str, form: str) -> dict[str, float]:
    """Load objects by an ORM, a thousand at a time, and call a logger for each line."""
    import structlog
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import registry, relationship, selectinload

    from duly.orders.session import open_engine
    from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
    from duly.runtime import logs
    from duly.runtime.settings import DatabaseSettings, LogSettings

    tables = registry()
    classes: dict[str, Any] = {n: type(n, (), {}) for n in ("Customer", "Product", "Item", "Order")}
    order, item = classes["Order"], classes["Item"]
    tables.map_imperatively(classes["Customer"], CUSTOMERS)
    tables.map_imperatively(classes["Product"], PRODUCTS)
    product = relationship(classes["Product"])
    tables.map_imperatively(item, ORDER_ITEMS, properties={"product": product})
    relations = {"customer": relationship(classes["Customer"]), "items": relationship(item)}
    tables.map_imperatively(order, ORDERS, properties=relations)
    output = logs.configure(LogSettings(level=level, format=form), service="worker")
    log = structlog.get_logger()
    query = select(order).where(order.status == "pending").options(selectinload(order.customer))
    if level == "DEBUG":
        query = query.options(selectinload(order.items).selectinload(item.product))

    async def run() -> None:
        async with (
            open_engine(DatabaseSettings(url=url)) as engine,
            AsyncSession(engine) as session,
        ):
            found = await session.stream_scalars(query.execution_options(yield_per=_PAGE))
            async for one in found:
                who = one.customer
                log.info("Pending order found", order_id=one.id, customer_username=who.username,
                         customer_email=who.email)  # fmt: skip
                for each in one.items if level == "DEBUG" else ():
                    log.debug("Order item details", product_name=each.product.name,
                              quantity=each.quantity, unit_price=each.unit_price)  # fmt: skip
        output.flush(60)

    return await measured(run)


async def rows(url: str, level: str, _: str) -> dict[str, float]:
    """Write a plain % of each row of the driver, a thousand at a time: one limit."""
    passes = [(_ORDERS, _ORDER_LINE), *([(_ITEMS, _ITEM_LINE)] if level == "DEBUG" else [])]
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.partition("///")[2])
        cursor = connection.cursor
    else:
        import psycopg

        connection = psycopg.connect(url.replace("+psycopg", ""))
        cursor = lambda: connection.cursor(name="bench")  # noqa: E731 - of the server

    async def run() -> None:
        for query, line in passes:
            reading = cursor()
            reading.execute(query)
            while page := reading.fetchmany(_PAGE):
                sys.stdout.write("".join([line % row for row in page]))
                sys.stdout.flush()
            reading.close()

    try:
        return await measured(run)
    finally:
        connection.close()


async def copy(url: str, *_: str) -> dict[str, float]:
    """Let PostgreSQL write its own text of the rows, by psql: the other limit."""
    from duly.testing.postgres import postgres_programs

    command = f"COPY ({' '.join(_ORDERS.split())}) TO STDOUT"
    address = url.replace("+psycopg", "")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)

    async def run() -> None:
        program = str(postgres_programs() / "psql")
        process = await asyncio.create_subprocess_exec(program, address, "-qc", command)
        await process.wait()

    figures = await measured(run)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["cpu"] = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return figures


SIDES = {
    "duly": duly,
    "changes": partial(duly, policy="changes"),
    "sample": partial(duly, policy="sample"),
    "usual": usual,
    "rows": rows,
    "copy": copy,
}


def main() -> None:
    """Measure the side that the command line names."""
    import uvloop

    side, *words = sys.argv[1:]
    print(json.dumps(uvloop.run(SIDES[side](*words))), file=sys.stderr)


if __name__ == "__main__":
    main()
