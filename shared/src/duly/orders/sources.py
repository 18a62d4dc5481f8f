"""Opens the source of orders that the settings name."""

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from duly.app.loading import load_object
from duly.errors import ConfigError, DulyError, describe
from duly.orders.database import OrdersDatabase
from duly.orders.source import Source
from duly.orders.statements import SqlSource
from duly.orders.view import view_of
from duly.runtime.settings import Settings

PYTHON_KEY: Final = "orders.python"


def open_source(settings: Settings) -> AbstractAsyncContextManager[Source]:
    """Return the source of the pending orders, to be opened by `async with`.

    Raises:
        ConfigError: A setting of it is wrong.
    """
    orders = settings.orders
    match orders.source:
        case "sql":
            times = orders.log == "changes"
            return SqlSource.open(view_of(settings), orders.sql, times=times)
        case "http":
            # HTTP and TLS are a part of it that other sources do without.
            from duly.orders.service import HttpSource

            longest = view_of(settings).database.statement_timeout
            return HttpSource.open(orders.http, longest=longest)
        case "python":
            return made_by_code(settings)
        case _:
            return OrdersDatabase.open(view_of(settings))


@asynccontextmanager
async def made_by_code(settings: Settings) -> AsyncIterator[Source]:
    """Open the source that the factory of `orders.python` makes.

    The factory is called with the settings, or without anything if it takes nothing. It returns a
    `Source` or an async context manager that gives one, or is a coroutine function that does.

    Raises:
        ConfigError: There is no such factory, it raised, or what it makes is no source.
    """
    name = settings.orders.python
    if not name:
        raise ConfigError(PYTHON_KEY, "is empty", remedy="name a factory: shop.orders:source")
    factory = load_object(PYTHON_KEY, name)
    try:
        made = factory(settings) if inspect.signature(factory).parameters else factory()
        if inspect.isawaitable(made):
            made = await made
    except DulyError:
        raise
    except Exception as error:
        raise ConfigError(PYTHON_KEY, f"{name} raised {describe(error)}") from error
    if hasattr(made, "__aenter__"):
        async with made as entered:
            yield _checked(entered, name)
    else:
        yield _checked(made, name)


def _checked(made: Any, name: str) -> Source:  # noqa: ANN401 - whatever a factory returns
    if not inspect.isasyncgenfunction(getattr(made, "pages", None)):
        problem = f"{name} makes a {type(made).__name__}, which has no async generator `pages`"
        raise ConfigError(PYTHON_KEY, problem, remedy="see docs/orders.md")
    source: Source = made
    return source
