import itertools
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, update

from duly.errors import Requeue
from duly.jobs.orders import CheckPendingOrders
from duly.orders.check import PendingOrdersCheck
from duly.orders.database import OrdersDatabase
from duly.orders.page import Page
from duly.orders.policies import Changes, Sample
from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.runtime.masking import Mask
from duly.runtime.settings import DatabaseSettings, Settings
from duly.task import TaskContext
from duly.testing.clock import FrozenClock

LEVELS = ("DEBUG", "INFO", "WARNING")


class Collected:
    """Keeps the lines instead of writing them."""

    def __init__(self, level="INFO"):
        self.level, self.lines, self.calls, self.full = level, [], 0, False

    async def room(self, seconds):
        return not self.full

    def enabled(self, level):
        return LEVELS.index(level) >= LEVELS.index(self.level)

    def write(self, level, message, fields, rows):
        self.calls += 1
        if not self.enabled(level):
            return 0
        new = [(level, message, dict(zip(fields, row, strict=True))) for row in rows]
        self.lines += new
        return len(new)

    def write_nested(self, level, message, fields, rows, inner):
        logged = 0
        for row, items in zip(rows, inner.rows, strict=True):
            logged += self.write(level, message, fields, [row])
            self.write(inner.level, inner.message, inner.fields, items)
        return logged

    def of(self, message):
        return [fields for _, found, fields in self.lines if found == message]


@pytest.fixture
def settings(database_url):
    return Settings(database=DatabaseSettings(url=SecretStr(database_url)))


@pytest.fixture
async def database(settings):
    async with OrdersDatabase.open(settings.database) as database:
        yield database


@pytest.fixture
async def engine(database):
    async with open_engine(database.view.database) as writer:
        await upgrade(writer)
    return await database.engine()


async def fill(engine, pending, *, others=1):
    now = FrozenClock().now()
    people = [{"username": name, "email": f"{name}@example.com"} for name in ("ann", "bob")]
    orders = [
        {
            "customer_id": number % 2 + 1,
            "status": "pending" if number < pending else "completed",
            "created_at": now,
            "updated_at": now,
        }
        for number in range(pending + others)
    ]
    products = [("Tea", Decimal("29.99")), ('Pot "blue"', Decimal("0.5"))]
    items = [
        {"order_id": 1, "product_id": 1, "quantity": 2, "unit_price": Decimal("29.99")},
        {"order_id": 1, "product_id": 2, "quantity": 1, "unit_price": Decimal("0.5")},
    ]
    url = SecretStr(engine.url.render_as_string(hide_password=False))
    async with (
        open_engine(DatabaseSettings(url=url)) as writer,
        writer.begin() as connection,
    ):
        await connection.execute(insert(CUSTOMERS), people)
        await connection.execute(
            insert(PRODUCTS), [{"name": name, "unit_price": price} for name, price in products]
        )
        await connection.execute(insert(ORDERS), orders)
        await connection.execute(insert(ORDER_ITEMS), items)


def context(**changes):
    return TaskContext(id="run-1", queue="default", kind="check_pending_orders", **changes)


async def check(database, lines, *, stopping=lambda: False, **options):
    handler = PendingOrdersCheck(database, lines, clock=FrozenClock(), **options)
    await handler(CheckPendingOrders(), context(stopping=stopping))


async def test_each_pending_order_gets_its_line_and_the_run_a_summary(database, engine):
    await fill(engine, 2)
    lines = Collected()

    await check(database, lines)

    assert lines.lines == [
        (
            "INFO",
            "Pending order found",
            {"order_id": 1, "customer_username": "ann", "customer_email": "ann@example.com"},
        ),
        (
            "INFO",
            "Pending order found",
            {"order_id": 2, "customer_username": "bob", "customer_email": "bob@example.com"},
        ),
        (
            "INFO",
            "Pending orders checked",
            {
                "pending": 2,
                "logged": 2,
                "suppressed": 0,
                "oldest_age": 0.0,
                "pages": 1,
                "duration": 0.0,
                "run_id": "run-1",
            },
        ),
    ]
    assert list(lines.lines[0][2]) == ["order_id", "customer_username", "customer_email"]


async def test_at_debug_the_items_follow_their_order(database, engine):
    await fill(engine, 2)
    lines = Collected("DEBUG")

    await check(database, lines)

    assert [(level, message) for level, message, _ in lines.lines] == [
        ("INFO", "Pending order found"),
        ("DEBUG", "Order item details"),
        ("DEBUG", "Order item details"),
        ("INFO", "Pending order found"),
        ("INFO", "Pending orders checked"),
    ]
    assert lines.of("Order item details") == [
        {"product_name": "Tea", "quantity": 2, "unit_price": Decimal("29.99")},
        {"product_name": 'Pot "blue"', "quantity": 1, "unit_price": Decimal("0.50")},
    ]
    assert [str(item["unit_price"]) for item in lines.of("Order item details")] == ["29.99", "0.50"]


@pytest.mark.parametrize(("orders", "pages"), [(1, 1), (1000, 1), (2500, 3)])
async def test_items_are_not_queried_unless_debug_is_on(
    database, engine, statements, orders, pages
):
    await fill(engine, orders)
    statements.clear()

    await check(database, Collected("INFO"))

    assert len(statements) == 1 + pages
    assert not any("order_items" in statement for statement in statements)


@pytest.mark.parametrize(("orders", "pages"), [(1, 1), (1000, 1), (2500, 3)])
async def test_debug_costs_one_more_statement_a_page(database, engine, statements, orders, pages):
    await fill(engine, orders)
    statements.clear()
    lines = Collected("DEBUG")

    await check(database, lines)

    assert len(statements) == 1 + 2 * pages
    assert len(lines.of("Pending order found")) == orders


async def test_a_source_that_has_no_items_gives_its_orders_at_debug_too():
    class Shop:
        async def pages(self, sweep):
            yield Page([(1, "ann", "ann@example.com")])

    lines = Collected("DEBUG")

    await check(Shop(), lines)

    assert len(lines.of("Pending order found")) == 1
    assert lines.of("Order item details") == []


async def test_a_page_is_written_in_one_call(database, engine):
    await fill(engine, 25)
    lines = Collected()

    await check(database, lines, page_size=10)

    assert lines.calls == 3 + 1
    assert [fields["order_id"] for fields in lines.of("Pending order found")] == [*range(1, 26)]


async def test_no_pending_orders_still_get_a_summary(database, engine):
    lines = Collected()

    await check(database, lines)

    assert lines.of("Pending orders checked") == [
        {
            "pending": 0,
            "logged": 0,
            "suppressed": 0,
            "oldest_age": 0.0,
            "pages": 0,
            "duration": 0.0,
            "run_id": "run-1",
        }
    ]


async def test_what_the_level_hides_is_not_counted_as_logged(database, engine):
    await fill(engine, 2)
    lines = Collected("WARNING")

    await check(database, lines)

    assert lines.lines == []


async def test_a_stop_ends_the_check_between_pages_and_runs_it_again(database, engine):
    await fill(engine, 25)
    lines = Collected()

    def stopping():
        return bool(lines.lines)

    with pytest.raises(Requeue, match="10 pending orders were logged so far"):
        await check(database, lines, stopping=stopping, page_size=10)

    assert len(lines.of("Pending order found")) == 10
    assert lines.of("Pending orders checked") == []


async def test_a_stop_ends_a_check_that_waits_for_the_reader_of_the_log(database, engine):
    await fill(engine, 2)
    lines = Collected()
    lines.full = True
    asked = itertools.count()

    with pytest.raises(Requeue, match="0 pending orders were logged"):
        await check(database, lines, stopping=lambda: next(asked) > 3)

    assert lines.lines == []


async def test_masked_orders_hold_no_address_and_a_digest_follows_the_customer(database, engine):
    await fill(engine, 3)
    lines = Collected()

    await check(database, lines, mask=Mask("secret"))

    found = lines.of("Pending order found")
    assert [fields["customer_email"] for fields in found] == [
        "a***@example.com",
        "b***@example.com",
        "a***@example.com",
    ]
    first, second, third = (fields["customer_digest"] for fields in found)
    assert first == third != second


async def test_without_a_key_masked_orders_have_the_fields_that_they_always_have(database, engine):
    await fill(engine, 1)
    lines = Collected()

    await check(database, lines, mask=Mask())

    assert lines.of("Pending order found") == [
        {"order_id": 1, "customer_username": "ann", "customer_email": "a***@example.com"}
    ]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_changes_are_logged_with_their_items_and_counted(database, engine, level):
    await fill(engine, 25)
    lines, clock = Collected(level), FrozenClock()
    policy = Changes(timedelta(days=1))
    handler = PendingOrdersCheck(
        database, lines, policy=policy, mask=Mask("secret"), clock=clock, page_size=10
    )

    async def swept():
        lines.lines.clear()
        await handler(CheckPendingOrders(), context())
        found = [fields["order_id"] for fields in lines.of("Pending order found")]
        (summary,) = lines.of("Pending orders checked")
        said = tuple(summary[name] for name in ("pending", "logged", "suppressed", "pages"))
        return found, said, len(lines.of("Order item details"))

    items = 2 if level == "DEBUG" else 0
    assert await swept() == ([*range(1, 26)], (25, 25, 0, 3), items)
    clock.advance(5)
    assert await swept() == ([], (25, 0, 25, 3), 0)
    url = SecretStr(engine.url.render_as_string(hide_password=False))
    async with open_engine(DatabaseSettings(url=url)) as writer, writer.begin() as connection:
        changed = update(ORDERS).where(ORDERS.c.id.in_([1, 17]))
        await connection.execute(changed.values(updated_at=clock.now()))
    clock.advance(5)
    assert await swept() == ([1, 17], (25, 2, 23, 3), items)
    assert lines.of("Pending order found")[0]["customer_email"] == "a***@example.com"
    assert lines.of("Pending orders checked")[0]["oldest_age"] == 10.0
    clock.advance(timedelta(days=1))
    assert await swept() == ([*range(1, 26)], (25, 25, 0, 3), items)


async def test_dropped_lines_are_logged_by_the_next_check(database, engine):
    await fill(engine, 3)
    lines = Collected("WARNING")
    handler = PendingOrdersCheck(
        database, lines, policy=Changes(timedelta(days=1)), clock=FrozenClock()
    )
    await handler(CheckPendingOrders(), context())
    lines.level = "INFO"

    await handler(CheckPendingOrders(), context())

    assert len(lines.of("Pending order found")) == 3


async def test_a_sample_is_logged_and_the_rest_counted(database, engine):
    await fill(engine, 50)
    lines = Collected()

    await check(database, lines, policy=Sample(0.1))

    assert [it["order_id"] for it in lines.of("Pending order found")] == [7, 24, 30, 41, 46]
    (summary,) = lines.of("Pending orders checked")
    assert (summary["pending"], summary["logged"], summary["suppressed"]) == (50, 5, 45)
