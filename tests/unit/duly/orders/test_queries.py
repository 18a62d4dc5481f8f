from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from duly.orders.queries import (
    LAST_ID,
    OLDEST,
    PENDING_ITEMS,
    PENDING_ORDERS,
    PENDING_ORDERS_WITH_TIMES,
    pending_pages,
)
from duly.orders.reader import Reader, written_ids
from duly.orders.source import Sweep
from duly.orders.view import View

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
OLDEST_FIRST = {
    "sqlite": "'2026-02-03 10:00:00.000000'",
    "postgresql": "'2026-02-03 11:00:00+01:00'",
}
"""Two hours before noon, as each database writes it."""


async def read(engine, **options):
    return [page async for page in pending_pages(engine, Sweep(**options))]


async def test_no_orders_yield_no_page(engine, statements):
    assert await read(engine) == []
    assert len(statements) == 2


async def test_a_row_has_the_order_and_its_customer(engine, fill):
    await fill(2, others=1)

    (page,) = await read(engine)

    assert list(page.orders) == [(1, "c0", "c0@example.com"), (2, "c1", "c1@example.com")]
    assert page.items == ()


async def test_items_come_with_their_product_in_their_order(engine, fill):
    await fill(1)

    (page,) = await read(engine, items=True)

    (items,) = page.items
    assert items == [("Tea", 1, Decimal("29.99")), ('Pot "blue"', 2, Decimal("29.99"))]
    assert [str(price) for _, _, price in items] == ["29.99", "29.99"]


async def test_times_come_where_they_are_asked_for(engine, fill):
    await fill(2, items=1)

    (page,) = await read(engine, times=True, items=True)

    assert list(page.orders) == [(1, "c0", "c0@example.com"), (2, "c1", "c1@example.com")]
    assert page.times == [(NOON, NOON)] * 2
    assert page.oldest == NOON
    assert [len(items) for items in page.items] == [1, 1]


async def test_a_sweep_may_be_bounded_by_ids(engine, fill):
    await fill(10)

    pages = await read(engine, page_size=2, after=3, until=8)

    assert [order[0] for page in pages for order in page.orders] == [4, 5, 6, 7, 8]


async def test_an_order_without_items_has_none(engine, fill):
    await fill(1, items=0)

    (page,) = await read(engine, items=True)

    assert page.orders
    assert page.items == [[]]


@pytest.mark.parametrize(("before", "after"), [("cancelled", "pending"), ("pending", "cancelled")])
async def test_an_order_that_changes_before_its_items_are_read_mixes_up_no_others(
    engine, fill, monkeypatch, before, after
):
    await fill(4, items=0)
    raw = Reader.raw

    async def set_status(status):
        changed = text(f"UPDATE orders SET status = '{status}' WHERE id = 2")
        async with engine.begin() as connection:
            await connection.execute(changed)

    async def raw_after_a_change(reader, statement, values=None):
        if "FROM order_items" in statement:
            await set_status(after)
        return await raw(reader, statement, values)

    async with engine.begin() as connection:
        rows = "SELECT id, 1, id, 100 FROM orders"
        into = "INSERT INTO order_items (order_id, product_id, quantity, unit_price)"
        await connection.execute(text(f"{into} {rows}"))
    await set_status(before)
    monkeypatch.setattr(Reader, "raw", raw_after_a_change)

    (page,) = await read(engine, items=True)

    ids = [order[0] for order in page.orders]
    assert ids == ([1, 2, 3, 4] if before == "pending" else [1, 3, 4])
    assert [[quantity for _, quantity, _ in items] for items in page.items] == [[i] for i in ids]


@pytest.mark.parametrize(("orders", "pages"), [(1, 1), (1000, 1), (1001, 2), (2500, 3)])
async def test_statements_are_as_many_as_pages(engine, fill, statements, orders, pages):
    await fill(orders, items=1)
    statements.clear()

    found = await read(engine)

    assert [order[0] for page in found for order in page.orders] == list(range(1, orders + 1))
    assert len(found) == pages
    assert len(statements) == 1 + pages


@pytest.mark.parametrize(("orders", "pages"), [(1, 1), (1000, 1), (2500, 3)])
async def test_items_cost_one_more_statement_a_page(engine, fill, statements, orders, pages):
    await fill(orders, items=1)
    statements.clear()

    found = await read(engine, items=True)

    assert [len(items) for page in found for items in page.items] == [1] * orders
    assert len(statements) == 1 + 2 * pages


async def test_an_order_completed_meanwhile_hides_no_other(engine, fill):
    await fill(5)
    ids = []

    async for page in pending_pages(engine, Sweep(page_size=2)):
        ids += [order[0] for order in page.orders]
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE orders SET status = 'completed' WHERE id = 1"))

    assert ids == [1, 2, 3, 4, 5]


async def plan(engine, statement, **bounds):
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    options = {"dialect": engine.dialect, "compile_kwargs": {"literal_binds": True}}
    question = explain + str(statement.params(bounds).compile(**options))
    async with engine.connect() as connection:
        return "\n".join(str(row) for row in await connection.exec_driver_sql(question))


@pytest.mark.parametrize("statement", [PENDING_ORDERS, PENDING_ORDERS_WITH_TIMES])
async def test_the_partial_index_finds_the_pending_orders(engine, fill, statement):
    await fill(50, others=20_000)

    shown = await plan(engine, statement, after=10, last=LAST_ID, limit=1001)

    assert "ix_orders_pending" in shown
    assert "SCAN orders" not in shown
    assert "Seq Scan on orders" not in shown


async def test_the_first_page_says_how_old_the_oldest_order_is(engine, fill):
    await fill(3)
    async with engine.begin() as connection:
        early = OLDEST_FIRST[engine.dialect.name]
        await connection.execute(text(f"UPDATE orders SET created_at = {early} WHERE id = 3"))

    pages = await read(engine, page_size=2)

    assert [page.oldest for page in pages] == [NOON - timedelta(hours=2), None]
    assert [page.lag for page in pages] == [None, None]


async def test_an_index_finds_the_oldest_order(engine, fill):
    await fill(50, others=20_000)

    shown = await plan(engine, OLDEST)

    assert "ix_orders_pending_created_at" in shown
    assert "TEMP B-TREE" not in shown
    assert "Sort" not in shown


async def test_a_consistent_view_does_not_see_later_changes(engine, fill):
    await fill(5)
    ids = []

    async for page in pending_pages(engine, Sweep(page_size=2), View(consistent=True)):
        ids += [order[0] for order in page.orders]
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE orders SET status = 'completed' WHERE id > 2"))

    assert ids == [1, 2, 3, 4, 5]


async def test_the_index_finds_the_items(engine, fill):
    await fill(50, others=20_000, items=4)
    async with engine.begin() as connection:
        rows = "SELECT id, 1, 1, 100 FROM orders WHERE status = 'completed'"
        into = "INSERT INTO order_items (order_id, product_id, quantity, unit_price)"
        await connection.execute(text(f"{into} {rows}"))
        await connection.execute(text("ANALYZE"))

    items = PENDING_ITEMS[engine.dialect.name]
    shown = await plan(engine, items, ids=written_ids(engine.dialect.name, [*range(11, 31)]))

    assert "ix_order_items_order_id" in shown
    assert "Seq Scan on order_items" not in shown
    assert "SCAN order_items" not in shown
