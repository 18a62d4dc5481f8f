import pytest

from duly.errors import ConfigError
from duly.orders.database import OrdersDatabase
from duly.orders.service import ServiceDownError
from duly.orders.source import Sweep
from duly.orders.sources import open_source
from duly.orders.statements import SqlSource
from duly.runtime.loading import load
from duly.runtime.settings import Settings


@pytest.fixture
def settings(sqlite_url):
    def made(**variables):
        return load(Settings, environment={"DULY_DATABASE__URL": sqlite_url, **variables})

    return made


async def test_our_own_tables_are_the_source_where_no_other_is_named(settings):
    async with open_source(settings()) as source:
        assert isinstance(source, OrdersDatabase)


async def test_statements_of_the_settings_are_one(settings):
    orders = "SELECT 7 AS order_id, 'ann' AS customer_username, 'a@b' AS customer_email"
    given = settings(DULY_ORDERS__SOURCE="sql", DULY_ORDERS__SQL__ORDERS=orders)

    async with open_source(given) as source:
        assert isinstance(source, SqlSource)
        assert [tuple(p.orders[0]) async for p in source.pages(Sweep())] == [(7, "ann", "a@b")]


async def test_a_source_without_its_settings_is_refused(settings):
    with pytest.raises(ConfigError, match=r"orders\.sql\.orders: is empty"):
        async with open_source(settings(DULY_ORDERS__SOURCE="sql")):
            pass


CODE = """
from contextlib import asynccontextmanager
from duly.orders.page import Page

closed = []

class Source:
    def __init__(self, name):
        self.name = name

    async def pages(self, sweep):
        yield Page([(1, self.name, "a@b")])

def plain():
    return Source("plain")

def told(settings):
    return Source(settings.app)

async def awaited():
    return Source("awaited")

@asynccontextmanager
async def opened(settings):
    yield Source("opened")
    closed.append(1)

def wrong():
    return object()

def raising():
    raise ValueError("no way")
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    (tmp_path / "shop_orders_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)


async def made(settings, factory):
    given = settings(DULY_APP="shop", DULY_ORDERS__SOURCE="python", DULY_ORDERS__PYTHON=factory)
    async with open_source(given) as source:
        return [page.orders[0][1] async for page in source.pages(Sweep())]


@pytest.mark.parametrize(
    ("factory", "name"),
    [("plain", "plain"), ("told", "shop"), ("awaited", "awaited"), ("opened", "opened")],
)
@pytest.mark.usefixtures("code")
async def test_code_of_your_own_is_a_source(settings, factory, name):
    assert await made(settings, f"shop_orders_code:{factory}") == [name]


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("", "is empty"),
        ("shop_orders_code", "'shop_orders_code' names no object in a module"),
        ("shop_orders_code:nothing", "shop_orders_code has no 'nothing'"),
        ("no_such_code:source", "there is no module 'no_such_code'"),
        ("shop_orders_code:wrong", "makes a object, which has no async generator `pages`"),
        ("shop_orders_code:raising", "raised ValueError: no way"),
    ],
)
@pytest.mark.usefixtures("code")
async def test_a_wrong_factory_is_one_clear_error(settings, factory, problem):
    with pytest.raises(ConfigError, match=rf"^orders\.python: .*{problem}"):
        await made(settings, factory)


async def test_a_service_is_a_source(settings):
    given = settings(
        DULY_ORDERS__SOURCE="http", DULY_ORDERS__HTTP__URL="http://127.0.0.1:1/pending"
    )

    async with open_source(given) as source:
        with pytest.raises(ServiceDownError):
            await anext(source.pages(Sweep()))
