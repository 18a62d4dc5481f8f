"""The source `sql` on a shop's own tables, with names and ids that are not ours."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from duly.errors import ConfigError
from duly.orders.session import OrdersDownError, open_engine
from duly.orders.source import Sweep
from duly.orders.statements import SqlSource
from duly.orders.view import View
from duly.runtime.order_settings import SqlSourceSettings
from duly.runtime.settings import DatabaseSettings

TABLES = """
CREATE TABLE people (nr INTEGER PRIMARY KEY, login TEXT, mail TEXT);
CREATE TABLE purchases (
    ref {id} PRIMARY KEY, buyer INTEGER, state TEXT, placed TIMESTAMP, touched TIMESTAMP
);
CREATE TABLE positions (ref {id}, line INTEGER, article TEXT, amount INTEGER, price NUMERIC(10, 2));
INSERT INTO people VALUES (1, 'ann', 'ann@example.com'), (2, 'b%b', 'b%b@example.com')
"""
ORDERS = """
SELECT ref AS order_id, login AS customer_username, mail AS customer_email,
       placed AS created_at, touched AS updated_at
FROM purchases JOIN people ON nr = buyer
WHERE state = 'open' AND mail LIKE '%@%' -- what counts as pending here
"""
ITEMS = """
SELECT ref AS order_id, article AS product_name, amount AS quantity, price AS unit_price,
       line AS item_id
FROM positions ORDER BY line DESC;
"""
STATEMENTS = SqlSourceSettings(orders=ORDERS, items=ITEMS)
NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012}"


def texts(number):
    return f"A-{number:03}"


@pytest.fixture(params=["text", "uuid", "bigint"])
def kind(request, database_url):
    if request.param == "uuid" and database_url.startswith("sqlite"):
        pytest.skip("SQLite has no UUIDs")
    return request.param


@pytest.fixture
def write(kind):
    return {"uuid": uuid, "text": texts, "bigint": int}[kind]


@pytest.fixture
def read(kind):
    return {"uuid": lambda number: UUID(uuid(number)), "text": texts, "bigint": int}[kind]


@pytest.fixture
def view(database_url):
    return View(database=DatabaseSettings(url=SecretStr(database_url)))


@pytest.fixture
async def shop(view, kind, write):
    """A shop with seven open purchases, 1 to 7, two positions each, and closed ones."""
    async with open_engine(view.database) as engine, engine.begin() as connection:
        for statement in TABLES.format(id=kind).split(";"):
            await connection.execute(text(statement))
        for number in range(1, 10):
            state = "open" if number <= 7 else "closed"
            bought = f"'{write(number)}', {number % 2 + 1}, '{state}'"
            times = "'2026-02-03 12:00:00', '2026-02-03 12:00:00'"
            await connection.exec_driver_sql(f"INSERT INTO purchases VALUES ({bought}, {times})")
            for line, article in enumerate(("tea", "pot"), start=1):
                row = f"'{write(number)}', {line}, '{article}', {line}, 2.50"
                await connection.exec_driver_sql(f"INSERT INTO positions VALUES ({row})")
    return view


async def test_changes_need_the_columns_of_the_times(shop):
    without = SqlSourceSettings(orders=ORDERS.replace("touched AS updated_at", "touched"))

    async with SqlSource.open(shop, without):
        pass
    with pytest.raises(ConfigError, match=r"updated_at, which orders\.log: changes needs .*every"):
        async with SqlSource.open(shop, without, times=True):
            pass
    async with SqlSource.open(shop, STATEMENTS, times=True) as source:
        (page,) = await pages_of(source, times=True)
    assert page.times == [(NOON, NOON)] * 7


async def pages_of(source, **options):
    return [page async for page in source.pages(Sweep(**options))]


async def test_all_open_purchases_are_read_in_pages(shop, read):
    async with SqlSource.open(shop, STATEMENTS) as source:
        pages = await pages_of(source, page_size=3)

    assert [len(page.orders) for page in pages] == [3, 3, 1]
    assert [order[0] for page in pages for order in page.orders] == [*map(read, range(1, 8))]
    assert tuple(pages[0].orders[0])[1:] == ("b%b", "b%b@example.com")
    assert pages[0].times == ()


async def test_items_come_in_the_order_of_their_column(shop):
    async with SqlSource.open(shop, STATEMENTS) as source:
        pages = await pages_of(source, page_size=3, items=True)

    items = [("tea", 1, Decimal("2.5")), ("pot", 2, Decimal("2.5"))]
    assert [page.items for page in pages] == [[items] * 3, [items] * 3, [items]]


async def test_times_are_instants(shop):
    async with SqlSource.open(shop, STATEMENTS) as source:
        (page,) = await pages_of(source, times=True)

    assert page.times == [(NOON, NOON)] * 7
    assert page.oldest == NOON
    assert len(page.orders[0]) == 3


async def test_a_sweep_may_be_bounded_by_ids(shop, read):
    async with SqlSource.open(shop, STATEMENTS) as source:
        pages = await pages_of(source, page_size=2, after=read(2), until=read(6))

    assert [order[0] for page in pages for order in page.orders] == [*map(read, range(3, 7))]


async def test_without_a_statement_of_items_no_order_has_any(shop):
    async with SqlSource.open(shop, SqlSourceSettings(orders=ORDERS)) as source:
        (page,) = await pages_of(source, items=True)

    assert page.items == ()


COLLATIONS = {
    "sqlite": ["BINARY", "NOCASE"],
    "postgresql": ['"C"', '"en-x-icu"'],
}
REFS = ["B1", "a1", "a2", 'C"1', "c\\1", "a,1", "{}", "NULL", "ä1", "z9"]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("turn", [1, -1])
async def test_items_are_those_of_their_orders_however_each_statement_is_sorted(view, size, turn):
    name = "sqlite" if "sqlite" in view.database.url.get_secret_value() else "postgresql"
    of_orders, of_items = COLLATIONS[name][::turn]
    async with open_engine(view.database) as engine, engine.begin() as connection:
        for table, collation in (("purchases", of_orders), ("positions", of_items)):
            made = f"CREATE TABLE {table} (ref VARCHAR(9) COLLATE {collation})"
            await connection.exec_driver_sql(made)
            await connection.execute(
                text(f"INSERT INTO {table} VALUES (:ref)"), [{"ref": ref} for ref in REFS]
            )
    orders = "SELECT ref AS order_id, ref AS customer_username, ref AS customer_email"
    items = "SELECT ref AS order_id, ref AS product_name, 1 AS quantity, 2 AS unit_price"
    statements = SqlSourceSettings(
        orders=f"{orders} FROM purchases", items=f"{items} FROM positions"
    )

    async with SqlSource.open(view, statements) as source:
        pages = await pages_of(source, page_size=size, items=True)

    of_orders = [
        (order[0], items)
        for page in pages
        for order, items in zip(page.orders, page.items, strict=True)
    ]
    assert sorted(ref for ref, _ in of_orders) == sorted(REFS)
    assert of_orders == [(ref, [(ref, 1, Decimal(2))]) for ref, _ in of_orders]


UNREADABLE = [
    ("postgresql", ORDERS, "placed", "timestamp 'infinity'", "created_at of order A-001"),
    ("postgresql", ORDERS, "touched", "date 'infinity'", "updated_at of order A-001"),
    ("sqlite", ORDERS, "touched", "'secret'", "updated_at of order A-001"),
    ("sqlite", ORDERS, "mail", "CAST(x'73656372407365ff' AS TEXT)", "customer_email"),
    ("sqlite", ITEMS, "price", "'secret'", "unit_price of order A-001"),
    ("postgresql", ITEMS, "price", "'secret'::text", "unit_price of order A-001"),
]


@pytest.mark.parametrize("kind", ["text"])
@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_cannot_be_read_is_one_line_that_names_the_statement(shop, case):
    dialect, statement, column, value, where = case
    if dialect not in shop.database.url.get_secret_value():
        pytest.skip(f"only {dialect} gives it")
    key = "orders" if statement is ORDERS else "items"
    spoilt = {key: statement.replace(f"{column} AS", f"{value} AS", 1)}

    async with SqlSource.open(shop, STATEMENTS.model_copy(update=spoilt)) as source:
        with pytest.raises(ConfigError) as raised:
            await pages_of(source, items=True, times=True)

    said = str(raised.value)
    assert said.startswith(f"orders.sql.{key}: {where} cannot be read: ")
    assert "secr" not in said
    assert "infinity" not in said
    assert "\n" not in said


@pytest.mark.parametrize("kind", ["text"])
async def test_what_the_database_cannot_convert_is_not_quoted(shop):
    if "postgresql" not in shop.database.url.get_secret_value():
        pytest.skip("SQLite converts everything")
    converting = ORDERS.replace("login AS", "mail::integer::text AS")

    async with SqlSource.open(shop, SqlSourceSettings(orders=converting)) as source:
        with pytest.raises(
            OrdersDownError, match="invalid input syntax for type integer"
        ) as raised:
            await pages_of(source)

    assert "example.com" not in str(raised.value)


async def test_a_statement_cannot_change_anything(shop):
    changing = "SELECT ref AS order_id FROM purchases); DELETE FROM purchases; SELECT (1"
    with pytest.raises((ConfigError, OrdersDownError)):
        async with SqlSource.open(shop, SqlSourceSettings(orders=changing)) as source:
            await pages_of(source)

    async with SqlSource.open(shop, STATEMENTS) as source:
        assert len((await pages_of(source))[0].orders) == 7


@pytest.mark.parametrize("kind", ["text"])
@pytest.mark.parametrize(
    ("orders", "items", "problem"),
    [
        ("", "", "orders.sql.orders: is empty .*order_id, customer_username, customer_email"),
        (
            "SELECT ref AS order_id, state AS customer_username FROM purchases",
            "",
            "orders.sql.orders: has no column customer_email; it has order_id, .*AS customer_email",
        ),
        (ORDERS, "SELECT ref AS order_id FROM positions", "orders.sql.items: has no column produ"),
        ("SELECT * FROM nowhere", "", "orders.sql.orders: the database refuses it: .*nowhere"),
        ("SELEKT 1", "", "orders.sql.orders: the database refuses it: .*syntax error"),
    ],
)
async def test_a_wrong_statement_is_one_clear_error_at_the_start(shop, orders, items, problem):
    with pytest.raises(ConfigError, match=f"^{problem}") as raised:
        async with SqlSource.open(shop, SqlSourceSettings(orders=orders, items=items)):
            pass

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["text"])
async def test_an_order_that_comes_twice_is_refused(shop):
    doubled = f"SELECT pending.* FROM ({ORDERS}) AS pending JOIN people ON TRUE"
    async with SqlSource.open(shop, SqlSourceSettings(orders=doubled)) as source:
        with pytest.raises(ConfigError, match="an order comes twice"):
            await pages_of(source)


@pytest.mark.fault("database")
async def test_a_database_that_does_not_answer_is_checked_later():
    there = View(database=DatabaseSettings(url="postgresql://nobody@127.0.0.1:1/shop"))

    async with SqlSource.open(there, STATEMENTS) as source:
        with pytest.raises(OrdersDownError, match=r"127\.0\.0\.1:1/shop cannot be used"):
            await pages_of(source)
