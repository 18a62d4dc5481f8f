"""Brings the orders database to the newest schema, or waits until somebody has."""

import asyncio
from datetime import timedelta

from duly.orders.schema import missing, upgrade
from duly.orders.session import OrdersDownError, create_folder, explained, open_engine
from duly_worker.settings import Settings

APPLICATION = "duly-migrate"
PATIENCE = timedelta(minutes=5)
PAUSE = timedelta(seconds=1)


async def migrate(settings: Settings) -> list[str]:
    """Apply what is missing, and return it; nothing when the schema is as new or newer.

    Any number of them may run at once. The folder of a SQLite file is created.

    Raises:
        ConfigError: The address is wrong, or the file can not be used.
        OrdersDownError: The database does not answer.
    """
    create_folder(settings.database)
    with explained(settings.database):
        async with open_engine(settings.database, application=APPLICATION) as engine:
            return await upgrade(engine)


async def wait_for_schema(settings: Settings, *, patience: timedelta = PATIENCE) -> None:
    """Return once the schema is the one that this program knows, or a newer one.

    Raises:
        ConfigError: The address is wrong.
        OrdersDownError: It was not so in time; the error tells what was found last.
    """
    found = "no answer in time"
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while found:
                found = await _hindrance(settings)
                if found:
                    await asyncio.sleep(PAUSE.total_seconds())
    except TimeoutError:
        waited = f"after {patience.total_seconds():g} s"
        raise OrdersDownError("database.url", f"{found} {waited}") from None


async def _hindrance(settings: Settings) -> str:
    """Return why a worker could not work yet; empty when it could."""
    try:
        with explained(settings.database):
            async with open_engine(settings.database, application=APPLICATION) as engine:
                revisions = await missing(engine)
    except OrdersDownError as error:
        return str(error.cause)
    return f"the schema still lacks revision {', '.join(revisions)}" if revisions else ""
