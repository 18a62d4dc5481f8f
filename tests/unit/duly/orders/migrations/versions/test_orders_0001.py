import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from duly.orders.schema import VERSION_TABLE
from duly.orders.tables import METADATA

INSTANTS = "'2026-01-01 00:00:00', '2026-01-01 00:00:00'"
CUSTOMER = "INSERT INTO customers (id, username, email) VALUES ({}, 'ann', 'ann@example.com')"
ORDER = "INSERT INTO orders (id, customer_id, status, created_at, updated_at) VALUES "
ITEM = "INSERT INTO order_items (order_id, product_id, quantity, unit_price) VALUES "


@pytest.fixture
async def connection(engine):
    async with engine.begin() as opened:
        await opened.execute(text(CUSTOMER.format(1)))
        await opened.execute(text("INSERT INTO products (id, name, unit_price) VALUES (1, 'x', 1)"))
        await opened.execute(text(f"{ORDER}(1, 1, 'pending', {INSTANTS})"))
        await opened.execute(text(f"{ITEM}(1, 1, 1, 1)"))
    async with engine.connect() as opened:
        yield opened


async def test_the_migrations_create_the_declared_tables(engine):
    def difference(connection):
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(CUSTOMER.format(2), id="a username twice"),
        pytest.param(f"{ORDER}(2, 1, 'lost', {INSTANTS})", id="an unknown status"),
        pytest.param(f"{ORDER}(2, 7, 'pending', {INSTANTS})", id="an unknown customer"),
        pytest.param(f"{ITEM}(7, 1, 1, 1)", id="an unknown order"),
        pytest.param(f"{ITEM}(1, 7, 1, 1)", id="an unknown product"),
        pytest.param(f"{ITEM}(1, 1, 0, 1)", id="no quantity"),
        pytest.param("DELETE FROM customers", id="a customer with orders is deleted"),
        pytest.param("DELETE FROM products", id="a product that was bought is deleted"),
    ],
)
async def test_the_database_refuses(connection, statement):
    with pytest.raises(IntegrityError):
        await connection.execute(text(statement))


async def test_items_are_deleted_with_their_order(connection):
    await connection.execute(text("DELETE FROM orders"))

    assert await connection.scalar(text("SELECT count(*) FROM order_items")) == 0
