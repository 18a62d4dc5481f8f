"""Brings the orders database to the schema that this program knows, or tells what is missing."""

from collections.abc import Callable
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from duly.orders.session import exclusive

VERSION_TABLE = "duly_schema"
"""Not Alembic's usual name: another application's history may share the database."""
NEWEST = "head"
NOTHING = "base"


async def upgrade(engine: AsyncEngine, revision: str = NEWEST) -> list[str]:
    """Apply what is missing up to `revision`, all of it or nothing; return what was applied.

    Two programs may call it at once: the second waits for the first and finds nothing to do. So
    does a program that is older than the database, after a roll-back.
    """
    async with exclusive(engine) as connection:
        return await connection.run_sync(_migrate, command.upgrade, revision)


async def downgrade(engine: AsyncEngine, revision: str = NOTHING) -> list[str]:
    """Take back everything after `revision`; return what was taken back. Its data is lost."""
    async with exclusive(engine) as connection:
        return await connection.run_sync(_migrate, command.downgrade, revision)


async def missing(engine: AsyncEngine) -> list[str]:
    """Return the revisions that this program knows and the database has not, oldest first."""
    async with engine.connect() as connection:
        return await connection.run_sync(_missing)


def _migrate(
    connection: Connection, move: Callable[[Config, str], None], revision: str
) -> list[str]:
    if _is_newer(connection):
        return []
    moved: list[str] = []

    def note(*, step: Any, **_: object) -> None:  # noqa: ANN401 - Alembic names no type for it
        moved.extend(step.up_revision_ids)

    config = _config()
    config.attributes |= {"connection": connection, "on_version_apply": note}
    move(config, revision)
    return moved


def _missing(connection: Connection) -> list[str]:
    if _is_newer(connection):
        return []
    script = ScriptDirectory.from_config(_config())
    wanted = script.iterate_revisions("heads", _current(connection) or NOTHING)
    return [revision.revision for revision in wanted][::-1]


def _is_newer(connection: Connection) -> bool:
    """Tell whether the database is at a revision that only a newer program knows."""
    known = {found.revision for found in ScriptDirectory.from_config(_config()).walk_revisions()}
    current = _current(connection)
    return current is not None and current not in known


def _current(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "duly.orders:migrations")
    config.set_main_option("path_separator", "os")
    return config
