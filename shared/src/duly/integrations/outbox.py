"""The transactional outbox: a job is written in the business transaction, and enqueued afterwards.

`Outbox.add` writes a row beside the business data: both are committed, or neither is. A `Relay`
enqueues the rows, each at least once and under the id that it was given when it was written. The
table is never created unasked: `Outbox.ddl` and `Outbox.migration` say how.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, cast

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
from typing_extensions import Unpack

from duly.app.functions import Options
from duly.clock import Clock, SystemClock, to_unix_ms
from duly.engine.enqueue.forwarding import kept
from duly.engine.enqueue.request import Request
from duly.job import Job

AnyTransaction: TypeAlias = Session | scoped_session[Session] | Connection
AnyAsyncTransaction: TypeAlias = AsyncSession | async_scoped_session[AsyncSession] | AsyncConnection
_ID, _NAME, _DIGEST = 256, 64, 64


@dataclass(frozen=True, slots=True)
class OutboxReport:
    """The state of an outbox."""

    waiting: int
    """Rows that have not been enqueued."""
    refused: int
    """Rows that were refused, and are kept with the reason."""
    lag: timedelta
    """The age of the oldest row that waits; zero: none does."""


class Outbox:
    """The table of one database, and what writes into it.

    Args:
        metadata: Of the application, so that Alembic finds the table; None: one of its own.
        name: Of the table.
        schema: Of the database; None: the default one.
        clock: Says when a row is written.

    Attributes:
        table: As SQLAlchemy knows it.
    """

    def __init__(
        self,
        metadata: MetaData | None = None,
        *,
        name: str = "duly_outbox",
        schema: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.table = _table(MetaData() if metadata is None else metadata, name, schema)

    def add(
        self,
        transaction: AnyTransaction,
        job: Job,
        **options: Unpack[Options],
    ) -> str:
        """Write a job into the current transaction; return the id that its task will have.

        Args:
            transaction: A session or connection of the business data.
            job: What is to be done.
            options: Those of `Client.enqueue`; a delay is counted from now, on this machine's
                clock.

        Raises:
            EnqueueError: The job or an option is wrong.
        """
        row = self._row(job, options)
        transaction.execute(insert(self.table), [row])
        return cast("str", row["task_id"])

    async def add_async(
        self,
        transaction: AnyAsyncTransaction,
        job: Job,
        **options: Unpack[Options],
    ) -> str:
        """Write a job into the current transaction of an asynchronous session; see `add`."""
        row = self._row(job, options)
        await transaction.execute(insert(self.table), [row])
        return cast("str", row["task_id"])

    def report(self, engine: Engine) -> OutboxReport:
        """Return how many rows wait and were refused."""
        columns = self.table.c
        waiting = select(func.count(), func.min(columns.created_ms))
        refused = select(func.count()).where(columns.refused.is_not(None))
        with engine.connect() as database:
            count, oldest = database.execute(waiting.where(columns.ended_ms.is_(None))).one()
            bad = database.execute(refused).scalar_one()
        lag_ms = 0 if oldest is None else max(0, to_unix_ms(self._clock.now()) - oldest)
        return OutboxReport(count, bad, timedelta(milliseconds=lag_ms))

    def ddl(self, dialect: str = "postgresql") -> list[str]:
        """Return the statements that create the table and its indexes.

        Args:
            dialect: Such as "postgresql" or "sqlite".

        Raises:
            sqlalchemy.exc.NoSuchModuleError: SQLAlchemy does not know it.
        """
        of: Dialect = registry.load(dialect)()
        elements: list[DDLElement] = [
            CreateTable(self.table),
            *(CreateIndex(index) for index in _sorted(self.table)),
        ]
        return [_tidied(str(element.compile(dialect=of))) for element in elements]

    def migration(self, dialect: str = "postgresql") -> str:
        """Return the body of an Alembic revision that creates the table."""
        statements = "\n".join(
            f'    op.execute(\n        """\n{_indented(statement)}\n        """\n    )'
            for statement in self.ddl(dialect)
        )
        return (
            "from alembic import op\n\n\n"
            f"def upgrade() -> None:\n{statements}\n\n\n"
            f'def downgrade() -> None:\n    op.execute("DROP TABLE {self.table.fullname}")\n'
        )

    def _row(self, job: Job, options: Options) -> dict[str, Any]:
        now_ms = to_unix_ms(self._clock.now())
        task = kept(Request(job=job, **options), now_ms)
        return {**msgspec.structs.asdict(task), "created_ms": now_ms}


def _table(metadata: MetaData, name: str, schema: str | None) -> Table:
    table = Table(
        name,
        metadata,
        # SQLite counts up by itself in a column of this type only.
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("task_id", String(_ID), nullable=False),
        Column("queue", String(_NAME), nullable=False),
        Column("kind", String(_NAME), nullable=False),
        Column("message", Text, nullable=False),
        Column("due_ms", BigInteger, nullable=False),
        Column("lock", String(_DIGEST), nullable=False),
        Column("lock_ttl_ms", BigInteger, nullable=False),
        Column("group_terms", Text),
        Column("created_ms", BigInteger, nullable=False),
        Column("ended_ms", BigInteger),
        Column("refused", Text),
        schema=schema,
    )
    waiting = table.c.ended_ms.is_(None)
    Index(f"ix_{name}_waiting", table.c.id, postgresql_where=waiting, sqlite_where=waiting)
    ended = table.c.ended_ms.is_not(None)
    Index(f"ix_{name}_ended", table.c.ended_ms, postgresql_where=ended, sqlite_where=ended)
    return table


def _sorted(table: Table) -> Sequence[Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _tidied(statement: str) -> str:
    lines = (line.rstrip().replace("\t", "    ") for line in statement.strip().splitlines())
    return "\n".join(line for line in lines if line)


def _indented(statement: str) -> str:
    return "\n".join(f"        {line}" for line in statement.splitlines())
