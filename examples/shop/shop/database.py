"""The shop's database: its orders."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import DateTime
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from duly import load_settings
from shop.settings import ShopSettings


class Base(DeclarativeBase):
    """The base of every table."""


class Order(Base):
    """What a customer has ordered."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    amount_cents: Mapped[int]
    placed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    invoiced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    paid_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


@asynccontextmanager
async def opened(settings: ShopSettings) -> AsyncGenerator[AsyncEngine, None]:
    """Open the database for the body of an `async with`."""
    engine = create_async_engine(settings.database_url.get_secret_value())
    try:
        yield engine
    finally:
        await engine.dispose()


async def create_tables(settings: ShopSettings) -> None:
    """Create the tables that are missing. A shop that grows uses Alembic here."""
    async with opened(settings) as engine, engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


if __name__ == "__main__":
    asyncio.run(create_tables(load_settings(ShopSettings)))
