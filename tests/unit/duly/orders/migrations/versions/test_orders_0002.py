import asyncio

import pytest
from sqlalchemy import text

from duly.orders.schema import downgrade, upgrade
from duly.orders.session import open_engine
from duly.runtime.settings import DatabaseSettings

NAME = "ix_orders_pending_created_at"


@pytest.fixture
async def on_postgres(postgres_url):
    async with open_engine(DatabaseSettings(url=postgres_url)) as engine:
        await upgrade(engine, "0001")
        yield engine


BUILDS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE query LIKE 'CREATE INDEX%' AND pid <> pg_backend_pid()"
)
STORE = "INSERT INTO customers (username, email) VALUES ('{0}', '{0}@example.com')"
ORDER = (
    "INSERT INTO orders (customer_id, status, created_at, updated_at) "
    "SELECT id, 'pending', now(), now() FROM customers LIMIT 1"
)


async def test_orders_are_written_while_the_index_is_built(on_postgres, until):
    async with asyncio.timeout(90), on_postgres.connect() as slow, asyncio.TaskGroup() as group:
        await slow.exec_driver_sql(STORE.format("ann"))
        await slow.exec_driver_sql(ORDER)  # The build waits for the end of this transaction.
        upgrading = group.create_task(upgrade(on_postgres, "0002"))

        async def builds():
            async with on_postgres.connect() as connection:
                return await connection.scalar(text(BUILDS))

        await until(builds, timeout=60)
        async with on_postgres.begin() as quick:
            # Behind a lock on the table it would fail after a second.
            await quick.exec_driver_sql(STORE.format("bob"))
            await quick.exec_driver_sql(ORDER)
        assert not upgrading.done()
        await slow.commit()

    assert upgrading.result() == ["0002"]


async def test_what_an_interrupted_build_left_is_replaced(on_postgres):
    async with on_postgres.begin() as connection:
        await connection.execute(text(f"CREATE INDEX {NAME} ON orders (id)"))

    assert await upgrade(on_postgres, "0002") == ["0002"]

    async with on_postgres.connect() as connection:
        shown = await connection.scalar(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = :name"), {"name": NAME}
        )
    assert "(created_at) WHERE" in shown


async def test_it_can_be_taken_back(engine):
    assert "0002" in await downgrade(engine, "0001")
    assert "0002" in await upgrade(engine)
