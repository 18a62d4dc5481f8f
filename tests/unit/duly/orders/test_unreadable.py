"""Rows that hold what no driver can read, in each database: the error says where, and not what."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from duly.orders.database import OrdersDatabase
from duly.orders.source import Sweep
from duly.orders.unreadable import UnreadableError, instant_of, without_values

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
TIMES, ITEMS = {"times": True}, {"items": True}
UNREADABLE = [
    ("postgresql", "orders SET created_at = '-infinity'", TIMES, "orders.created_at of order 2"),
    (
        "postgresql",
        "orders SET created_at = '0044-03-15 BC'",
        TIMES,
        "orders.created_at of order 2",
    ),
    ("postgresql", "orders SET updated_at = '20000-01-01'", TIMES, "orders.updated_at of order 2"),
    ("sqlite", "orders SET created_at = 'secret'", TIMES, "orders.created_at of order 2"),
    ("sqlite", "orders SET updated_at = 1764417600", TIMES, "orders.updated_at of order 2"),
    ("sqlite", "orders SET created_at = x'00ff'", TIMES, "orders.created_at of order 2"),
    ("sqlite", "order_items SET unit_price = 19.99", ITEMS, "order_items.unit_price of order 2"),
    ("sqlite", "order_items SET unit_price = 'secret'", ITEMS, "order_items.unit_price of order 2"),
    ("sqlite", "customers SET email = CAST(x'73656372ff' AS TEXT)", {}, "customers.email"),
]
OLDEST = [
    ("postgresql", "'-infinity'"),
    ("postgresql", "'0044-03-15 BC'"),
    ("sqlite", "'0secret'"),
    ("sqlite", "1764417600"),
]


@pytest.fixture
def spoil(engine, fill):
    """Return a function that makes three orders and changes what belongs to the second one."""

    async def store(dialect, change):
        if engine.dialect.name != dialect:
            pytest.skip(f"only {dialect} stores it")
        await fill(3, items=1)
        column = {"orders": "id", "order_items": "order_id", "customers": "id"}[change.split()[0]]
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE {change} WHERE {column} = 2"))

    return store


async def pages_of(database, **options):
    async with OrdersDatabase.open(database) as orders:
        return [page async for page in orders.pages(Sweep(**options))]


@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_cannot_be_read_is_one_line_that_says_where(database, spoil, case):
    dialect, change, options, where = case
    await spoil(dialect, change)

    with pytest.raises(UnreadableError) as raised:
        await pages_of(database, **options)

    said = str(raised.value)
    assert said.startswith(f"{where} in the orders database at ")
    assert " cannot be read: " in said
    assert said.endswith("; correct that row")
    for part in ("secr", "infinity", "0044", "20000", "1764417600", "19.99", "SELECT", "\n"):
        assert part not in said
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(("dialect", "created"), OLDEST)
async def test_orders_are_read_without_their_age_where_it_cannot_be(
    database, spoil, dialect, created
):
    await spoil(dialect, f"orders SET created_at = {created}")

    (page,) = await pages_of(database, items=True)

    assert [order[0] for order in page.orders] == [1, 2, 3]
    assert [len(items) for items in page.items] == [1, 1, 1]
    assert page.oldest is None


async def test_a_time_of_sqlite_may_have_a_zone(database, spoil):
    await spoil("sqlite", "orders SET created_at = '2026-02-03T12:00:00+05:00'")

    (page,) = await pages_of(database, times=True)

    assert [created for created, _ in page.times] == [NOON, NOON - timedelta(hours=5), NOON]
    assert page.oldest == NOON - timedelta(hours=5)


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2026-02-03 12:00:00.000000", NOON),
        ("2026-02-03T17:00+05:00", NOON),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.astimezone(timezone(timedelta(hours=-3))), NOON),
        (NOON.date(), NOON.replace(hour=0)),
    ],
)
def test_a_time_without_a_zone_is_in_utc(value, instant):
    assert instant_of(value) == instant
    assert instant_of(value).tzinfo is UTC


@pytest.mark.parametrize(
    "value", ["secret", "", 7, 7.5, b"2026-02-03", "0001-01-01T00:00:00+05:00", True]
)
def test_what_is_no_time_is_refused_and_not_quoted(value):
    with pytest.raises(ValueError, match="it is no time") as raised:
        instant_of(value)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("timestamp too large (after year 10K): 'x'", "timestamp too large (after year 10K)"),
        ("can't parse timestamp 'it's': no month", "can't parse timestamp: no month"),
        ('invalid input syntax for type integer: "a "b""', "invalid input syntax for type integer"),
        ('value "9" is out of range for type integer', "value is out of range for type integer"),
        ("division by zero", "division by zero"),
    ],
)
def test_a_drivers_words_are_kept_and_its_values_are_not(said, left):
    assert without_values(said) == left


def test_an_id_of_two_lines_makes_no_second_line():
    assert str(UnreadableError("mail", "it is not UTF-8", "a\nb", place="here")) == (
        "mail of order a\\nb in the orders database at here cannot be read: it is not UTF-8; "
        "correct that row"
    )
