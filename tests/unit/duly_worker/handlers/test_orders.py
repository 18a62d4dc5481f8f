from decimal import Decimal

import pytest
from sqlalchemy import event, insert

from duly.errors import HandBack
from duly.jobs.orders import CheckPendingOrders
from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.task import TaskContext
from duly.testing.clock import FrozenClock
from duly_worker.handlers.orders import PendingOrdersCheck

LEVELS = ("DEBUG", "INFO", "WARNING")


class Collected:
    """Keeps the lines instead of writing them."""

    def __init__(self, level="INFO"):
        self.level, self.lines, self.calls = level, [], 0

    def enabled(self, level):
        return LEVELS.index(level) >= LEVELS.index(self.level)

    def write(self, level, message, fields, rows):
        self.calls += 1
        if not self.enabled(level):
            return 0
        new = [(level, message, dict(zip(fields, row, strict=True))) for row in rows]
        self.lines += new
        return len(new)

    def of(self, message):
        return [fields for _, found, fields in self.lines if found == message]


@pytest.fixture
async def engine(settings):
    async with open_engine(settings.database) as opened:
        await upgrade(opened)
        yield opened


@pytest.fixture
def statements(engine):
    seen = []

    def note(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine.sync_engine, "before_cursor_execute", note)


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
    async with engine.begin() as connection:
        await connection.execute(insert(CUSTOMERS), people)
        await connection.execute(
            insert(PRODUCTS), [{"name": name, "unit_price": price} for name, price in products]
        )
        await connection.execute(insert(ORDERS), orders)
        await connection.execute(insert(ORDER_ITEMS), items)


def context(**changes):
    return TaskContext(id="run-1", queue="default", kind="check_pending_orders", **changes)


async def check(engine, lines, *, stopping=lambda: False, **options):
    handler = PendingOrdersCheck(engine, lines, clock=FrozenClock(), **options)
    await handler(CheckPendingOrders(), context(stopping=stopping))


async def test_each_pending_order_gets_its_line_and_the_run_a_summary(engine):
    await fill(engine, 2)
    lines = Collected()

    await check(engine, lines)

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
            {"pending": 2, "logged": 2, "duration": 0.0, "run_id": "run-1"},
        ),
    ]
    assert list(lines.lines[0][2]) == ["order_id", "customer_username", "customer_email"]


async def test_at_debug_the_items_follow_their_order(engine):
    await fill(engine, 2)
    lines = Collected("DEBUG")

    await check(engine, lines)

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
async def test_items_are_not_queried_unless_debug_is_on(engine, statements, orders, pages):
    await fill(engine, orders)
    statements.clear()

    await check(engine, Collected("INFO"))

    assert len(statements) == pages
    assert not any("order_items" in statement for statement in statements)


@pytest.mark.parametrize(("orders", "pages"), [(1, 1), (1000, 1), (2500, 3)])
async def test_debug_costs_one_more_statement_a_page(engine, statements, orders, pages):
    await fill(engine, orders)
    statements.clear()
    lines = Collected("DEBUG")

    await check(engine, lines)

    assert len(statements) == 2 * pages
    assert len(lines.of("Pending order found")) == orders


async def test_a_page_is_written_in_one_call(engine):
    await fill(engine, 25)
    lines = Collected()

    await check(engine, lines, page_size=10)

    assert lines.calls == 3 + 1
    assert [fields["order_id"] for fields in lines.of("Pending order found")] == [*range(1, 26)]


async def test_no_pending_orders_are_worth_a_summary(engine):
    lines = Collected()

    await check(engine, lines)

    assert lines.of("Pending orders checked") == [
        {"pending": 0, "logged": 0, "duration": 0.0, "run_id": "run-1"}
    ]


async def test_what_the_level_hides_is_not_counted_as_logged(engine):
    await fill(engine, 2)
    lines = Collected("WARNING")

    await check(engine, lines)

    assert lines.lines == []


async def test_a_stop_ends_the_check_between_pages_and_runs_it_again(engine):
    await fill(engine, 25)
    lines = Collected()

    def stopping():
        return bool(lines.lines)

    with pytest.raises(HandBack, match="10 pending orders were logged so far"):
        await check(engine, lines, stopping=stopping, page_size=10)

    assert len(lines.of("Pending order found")) == 10
    assert lines.of("Pending orders checked") == []
