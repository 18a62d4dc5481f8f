"""Upgrades the orders database to the newest schema, checks it, or waits until others have."""

import asyncio
from datetime import timedelta
from pathlib import Path

from duly.errors import ConfigError
from duly.orders.address import KEY, Address, read_address
from duly.orders.schema import missing, upgrade
from duly.orders.session import (
    CREATE,
    OWN_TABLES,
    OrdersDownError,
    create_folder,
    explained,
    open_engine,
)
from duly_worker.settings import Settings

APPLICATION = "duly-migrate"
PATIENCE = timedelta(minutes=5)
PAUSE = timedelta(seconds=1)


async def migrate(settings: Settings) -> list[str]:
    """Apply the missing revisions and return them; none if the schema is as new or newer.

    Idempotent, also for several processes at once. The folder of a SQLite file is created.

    Raises:
        ConfigError: The address is wrong, the file cannot be used, or there are tables of the same
            names that are not ours.
        OrdersDownError: The database does not answer.
    """
    create_folder(settings.database)
    # One connection holds the lock, another one changes the schema.
    pool_size = max(2, settings.database.pool_size)
    database = settings.database.model_copy(update={"pool_size": pool_size})
    with explained(database):
        async with open_engine(database, application=APPLICATION) as engine:
            return await upgrade(engine)


async def check_schema(settings: Settings) -> None:
    """Return if the schema is that of this program, or newer. Nothing is changed.

    Raises:
        ConfigError: It is missing or too old, there are tables of the same names that are not ours,
            or the address is wrong.
        OrdersDownError: The database does not answer.
    """
    address = read_address(settings.database)
    _check_existence(address)
    with explained(settings.database):
        async with open_engine(
            settings.database, application=APPLICATION, read_only=True
        ) as engine:
            revisions = await missing(engine)
    if revisions:
        problem = f"{address} lacks revision {', '.join(revisions)} of the orders schema"
        raise ConfigError(KEY, problem, remedy=f"{CREATE}; {OWN_TABLES}")


def _check_existence(address: Address) -> None:
    """Refuse a file of SQLite that is not there: merely opening it would make it."""
    if address.is_sqlite and not Path(address.place).exists():
        raise ConfigError(KEY, f"there is no file {address}", remedy=f"{CREATE}; {OWN_TABLES}")


async def wait_for_schema(settings: Settings, *, patience: timedelta = PATIENCE) -> None:
    """Return once the schema is that of this program, or newer.

    Raises:
        ConfigError: The address is wrong.
        OrdersDownError: It was not upgraded in time; the error says what was found last.
    """
    found = "no answer in time"
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while found:
                found = await _obstacle(settings)
                if found:
                    await asyncio.sleep(PAUSE.total_seconds())
    except TimeoutError:
        waited = f"after {patience.total_seconds():g} s"
        raise OrdersDownError("database.url", f"{found} {waited}") from None


async def _obstacle(settings: Settings) -> str:
    """Return why a worker could not run yet; "" if it could."""
    try:
        with explained(settings.database):
            async with open_engine(settings.database, application=APPLICATION) as engine:
                revisions = await missing(engine)
    except OrdersDownError as error:
        return str(error.cause)
    return f"the schema still lacks revision {', '.join(revisions)}" if revisions else ""
