"""Upgrades the orders database to the schema of this program, or says what is missing."""

from collections.abc import Callable
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from duly.errors import ConfigError
from duly.orders.address import KEY
from duly.orders.session import OWN_TABLES, exclusive
from duly.orders.tables import METADATA

VERSION_TABLE = "duly_schema"
"""Not Alembic's default: the history of another application may share the database."""
NEWEST = "head"
NOTHING = "base"
DDL_LOCK_TIMEOUT = "1min"
"""How long a change of schema waits for readers and writers, who wait behind it meanwhile."""
_MOST_NAMED = 5


async def upgrade(engine: AsyncEngine, revision: str = NEWEST) -> list[str]:
    """Apply the missing revisions up to `revision`, one by one; return what was applied.

    Each is applied as a whole or not at all; after a failure, those before it stay. Idempotent,
    also for several programs at once: the second waits for the first and finds nothing to do. A
    program older than the database, after a rollback, finds nothing to do either.

    Raises:
        ConfigError: The database has tables of the same names that are not ours.
    """
    return await _move(engine, command.upgrade, revision)


async def downgrade(engine: AsyncEngine, revision: str = NOTHING) -> list[str]:
    """Revert everything after `revision`; return what was reverted. The data there is lost."""
    return await _move(engine, command.downgrade, revision)


async def missing(engine: AsyncEngine) -> list[str]:
    """Return the revisions that this program has and the database lacks, oldest first.

    Raises:
        ConfigError: The database has tables of the same names that are not ours.
    """
    async with engine.connect() as connection:
        return await connection.run_sync(_missing)


async def _move(
    engine: AsyncEngine, move: Callable[[Config, str], None], revision: str
) -> list[str]:
    """Upgrade or downgrade under the lock; on PostgreSQL in transactions of their own beside it.

    An index is built there without a lock on its table, which no transaction can contain.
    """
    async with exclusive(engine) as guard:
        if engine.dialect.name == "sqlite":
            return await guard.run_sync(_migrate, move, revision)
        async with engine.connect() as connection:
            await connection.exec_driver_sql("SET statement_timeout = 0")
            await connection.exec_driver_sql(f"SET lock_timeout = '{DDL_LOCK_TIMEOUT}'")
            await connection.commit()
            try:
                return await connection.run_sync(_migrate, move, revision)
            finally:
                await connection.rollback()
                await connection.exec_driver_sql("RESET statement_timeout")
                await connection.exec_driver_sql("RESET lock_timeout")
                await connection.commit()


def _migrate(
    connection: Connection, move: Callable[[Config, str], None], revision: str
) -> list[str]:
    if _is_newer(connection):
        return []
    _refuse_foreign_tables(connection)
    if connection.dialect.name != "sqlite":
        connection.commit()  # The look above was a transaction; each revision has its own.
    moved: list[str] = []

    def note(*, step: Any, **_: object) -> None:  # noqa: ANN401 - Alembic names no type for it
        moved.extend(step.up_revision_ids)

    config = _config()
    config.attributes |= {"connection": connection, "on_version_apply": note}
    move(config, revision)
    return moved


def _refuse_foreign_tables(connection: Connection) -> None:
    """Refuse a database in which somebody else has created tables of our names."""
    if _current(connection) is not None:
        return
    inspector = inspect(connection)
    taken = [name for name in METADATA.tables if inspector.has_table(name)]
    # Asked again: the first revision may have been committed since, with the tables just seen.
    if taken and _current(connection) is None:
        named = ", ".join(f"{name} ({_columns(inspector, name)})" for name in sorted(taken))
        raise ConfigError(
            KEY,
            f"holds tables that are not ours and were left alone: {named}",
            remedy=f"{OWN_TABLES}; or name an empty database or schema",
        )


def _columns(inspector: Inspector, table: str) -> str:
    names = [str(column["name"]) for column in inspector.get_columns(table)]
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def _missing(connection: Connection) -> list[str]:
    if _is_newer(connection):
        return []
    _refuse_foreign_tables(connection)
    script = ScriptDirectory.from_config(_config())
    wanted = script.iterate_revisions("heads", _current(connection) or NOTHING)
    return [revision.revision for revision in wanted][::-1]


def _is_newer(connection: Connection) -> bool:
    """Return whether the database is at a revision that only a newer program knows."""
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
