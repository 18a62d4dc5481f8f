"""The shop on a database and a broker of its own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from duly import App
from shop import jobs
from shop.database import Order, create_tables, opened
from shop.settings import ShopSettings


class FakeMail:
    """Keeps what was sent, after as many failures as a test asks for."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[str, str]] = {}
        self.failures = 0

    async def send(self, to: str, subject: str, *, key: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no mail today")
        self._sent.setdefault(key, (to, subject))

    @property
    def sent(self) -> list[tuple[str, str]]:
        return list(self._sent.values())


@pytest.fixture
def settings(tmp_path: Path) -> ShopSettings:
    return ShopSettings(database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/shop.db"))


@pytest.fixture
async def database(settings: ShopSettings) -> AsyncIterator[AsyncEngine]:
    await create_tables(settings)
    async with opened(settings) as engine:
        yield engine


@pytest.fixture
def mail() -> FakeMail:
    return FakeMail()


@pytest.fixture
def app(duly_app: App, database: AsyncEngine, mail: FakeMail) -> App:
    """The application, with the test's database and mail."""
    duly_app.dependency_overrides = {jobs.database: lambda: database, jobs.mail: lambda: mail}
    return duly_app


@pytest.fixture
async def order(database: AsyncEngine) -> Order:
    """An order of a month ago, neither invoiced nor paid."""
    order = Order(
        email="ada@example.com",
        amount_cents=4200,
        placed_at=datetime.now(UTC) - timedelta(days=30),
    )
    async with AsyncSession(database, expire_on_commit=False) as session, session.begin():
        session.add(order)
    return order
