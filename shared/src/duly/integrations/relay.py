"""The relay: enqueues what the outbox of a database holds.

A row is marked once the broker has its task, and has written it to its disk where it can say so.
A relay that dies before leaves the row to the next one, which enqueues it under the same id.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import Connection, Engine, Row, and_, delete, or_, select, update

from duly.clock import Clock, SystemClock, to_ms, to_unix_ms
from duly.engine.enqueue.forwarding import Forwarded, Forwarder, KeptTask
from duly.integrations.outbox import Outbox
from duly.integrations.sole_relay import SoleRelay
from duly.runtime.settings import QueueSettings, RedisSettings

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_HELD_SECONDS = 2.0
_LONGEST_REST = 5.0
"""Without a sign of life."""
_TIDIED_AT_ONCE = 1_000
_LOOK_EVERY = 5.0
_MOST_REASON = 500
_FIELDS = KeptTask.__struct_fields__


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How a relay works."""

    batch: int = 500
    """Rows that are enqueued at once."""
    every: timedelta = timedelta(milliseconds=500)
    """How often it looks when there was nothing to do."""
    retention: timedelta = timedelta(hours=1)
    """How long rows are kept that have been enqueued; zero: not at all."""
    refused_retention: timedelta = timedelta(days=30)
    """How long rows are kept that were refused."""
    confirm: bool = True
    """Wait until the broker has written to its disk, where it has one (WAITAOF)."""


class RelayMetrics:
    """What a relay exports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Gauge(
            "duly_outbox_lag_seconds",
            "Age of the oldest row of the transactional outbox that has not been enqueued",
            registry=registry,
        )
        self.waiting = Gauge(
            "duly_outbox_waiting", "Rows that have not been enqueued", registry=registry
        )
        self.refused = Gauge(
            "duly_outbox_refused", "Rows that were refused and are kept", registry=registry
        )
        self.forwarded = Counter(
            "duly_outbox_forwarded", "Rows that were enqueued, by this process", registry=registry
        )
        self.errors = Counter(
            "duly_outbox_errors",
            "Rounds of the relay that failed: the broker or the database was away",
            registry=registry,
        )


class Relay:
    """Enqueues rows at least once, oldest first as far as possible.

    Several relays on PostgreSQL share the rows: each skips those that another one has locked. Of
    several on a SQLite file one works, and the others stand by. Rows of a queue that is full or
    refuses are left for later, and do not hold up others.

    Args:
        outbox: The table.
        engine: Of the database.
        settings: The broker.
        queues: The declared queues, with their limits; None: any queue will do.
        options: How it works.
        registry: Where it exports metrics; None: nowhere.
        clock: Measures lag and retention.
    """

    def __init__(
        self,
        outbox: Outbox,
        engine: Engine,
        settings: RedisSettings,
        queues: Mapping[str, QueueSettings] | None = None,
        *,
        options: RelayOptions | None = None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._outbox, self._table, self._engine = outbox, outbox.table, engine
        self._options = options or RelayOptions()
        self._clock = clock or SystemClock()
        self._forwarder = Forwarder(settings, queues, confirm=self._options.confirm)
        self._metrics = RelayMetrics(registry or CollectorRegistry())
        self._held: dict[str, float] = {}
        self._look_at = 0.0
        self._sole = SoleRelay(engine, self._table.name)
        self._stands_by = False
        self._beat: Callable[[], None] = lambda: None
        self._log = structlog.get_logger("duly.outbox")

    def __enter__(self) -> Self:
        """Return itself; broker and database are asked by `run_once`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection to the broker, when `run` has ended. The engine is its owner's."""
        self._forwarder.close()
        self._sole.release()

    def run(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set. Outages of the broker and of the database are waited out.

        Args:
            stop: Ends it after the round that is under way.
            beat: Called between any two steps, by which one sees that it moves.
        """
        wait, down, self._beat = _FIRST_WAIT, False, beat
        while not stop.is_set():
            self._beat()
            try:
                moved = self.run_once()
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever a driver raises
                self._metrics.errors.inc()
                if not down:
                    self._log.error("Outbox relay failed, retrying", error=_line(error))
                down = True
                self._rest(wait, stop)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            if down:
                self._log.info("Outbox relay works again")
            wait, down = _FIRST_WAIT, False
            if not moved:
                self._rest(self._options.every.total_seconds(), stop)

    def _rest(self, seconds: float, stop: threading.Event) -> None:
        until = self._clock.monotonic() + seconds
        while not stop.is_set() and (left := until - self._clock.monotonic()) > 0:
            self._beat()
            stop.wait(min(left, _LONGEST_REST))

    def run_once(self) -> int:
        """Enqueue one batch; return how many of its rows are done.

        Raises:
            BrokerDownError: The rows stay as they are.
            BrokerWriteError: As before; the broker's memory or disk is full.
            sqlalchemy.exc.SQLAlchemyError: The database failed. What was enqueued is enqueued
                again, under the same ids.
            OSError: The lock beside a SQLite file cannot be opened.
        """
        if not self._is_sole():
            return 0
        if self._engine.dialect.name == "sqlite":
            # A transaction that waits for the broker would lock the application out.
            with self._engine.connect() as database:
                rows = self._claim(database)
            found = self._forward(rows)
            with self._engine.begin() as database:
                return self._mark(database, rows, found)
        with self._engine.begin() as database:
            rows = self._claim(database)
            found = self._forward(rows)
            return self._mark(database, rows, found)

    def _is_sole(self) -> bool:
        held = self._sole.held()
        if held is self._stands_by:
            self._stands_by = not held
            event = "Outbox relay takes over" if held else "Outbox relay stands by for another one"
            self._log.info(event)
        return held

    def tidy(self) -> int:
        """Delete rows that have been kept for long enough, a thousand at most; return how many."""
        columns, now_ms = self._table.c, self._now_ms()
        enqueued_ms = now_ms - to_ms(self._options.retention)
        refused_ms = now_ms - to_ms(self._options.refused_retention)
        old = select(columns.id).where(
            or_(
                and_(columns.refused.is_(None), columns.ended_ms <= enqueued_ms),
                and_(columns.refused.is_not(None), columns.ended_ms <= refused_ms),
            )
        )
        with self._engine.begin() as database:
            ids = database.execute(old.limit(_TIDIED_AT_ONCE)).scalars().all()
            if ids:
                database.execute(delete(self._table).where(columns.id.in_(ids)))
        return len(ids)

    def _claim(self, database: Connection) -> Sequence[Row[Any]]:
        """Return the oldest rows that no other relay has, locked where the database can."""
        columns, now = self._table.c, self._clock.monotonic()
        self._held = {queue: until for queue, until in self._held.items() if until > now}
        wanted = select(columns.id, *(columns[name] for name in _FIELDS))
        wanted = wanted.where(columns.ended_ms.is_(None))
        if self._held:
            wanted = wanted.where(columns.queue.not_in(list(self._held)))
        ordered = wanted.order_by(columns.id).limit(self._options.batch)
        return database.execute(ordered.with_for_update(skip_locked=True)).all()

    def _forward(self, rows: Sequence[Row[Any]]) -> Forwarded:
        if not rows:
            return Forwarded()
        self._beat()
        tasks = [KeptTask(**{name: getattr(row, name) for name in _FIELDS}) for row in rows]
        found = self._forwarder.forward(tasks)
        for queue, error in found.held.items():
            self._held[queue] = self._clock.monotonic() + _HELD_SECONDS
            reason = "it is full" if error is None else _line(error)
            self._log.warning(
                "Outbox rows held: their queue takes none", queue=queue, reason=reason
            )
        return found

    def _mark(self, database: Connection, rows: Sequence[Row[Any]], found: Forwarded) -> int:
        """Mark rows that are done, and those that never will be with the reason."""
        self._beat()
        columns, now_ms = self._table.c, self._now_ms()
        arrived = [row.id for row in rows if row.task_id in found.arrived]
        these = columns.id.in_(arrived)
        if arrived and self._options.retention:
            database.execute(update(self._table).where(these).values(ended_ms=now_ms))
        elif arrived:
            database.execute(delete(self._table).where(these))
        refused = [row for row in rows if row.task_id in found.refused]
        for row in refused:
            reason = found.refused[row.task_id][:_MOST_REASON]
            marked = update(self._table).where(columns.id == row.id)
            database.execute(marked.values(ended_ms=now_ms, refused=reason))
            self._log.error("Outbox row refused", row=row.id, task=row.task_id, reason=reason)
        self._metrics.forwarded.inc(len(arrived))
        return len(arrived) + len(refused)

    def _look(self) -> None:
        """Report and tidy now and then."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY
        found = self._outbox.report(self._engine)
        self._metrics.waiting.set(found.waiting)
        self._metrics.refused.set(found.refused)
        self._metrics.lag.set(found.lag.total_seconds())
        while self.tidy() == _TIDIED_AT_ONCE:
            pass

    def _now_ms(self) -> int:
        return to_unix_ms(self._clock.now())


def _line(error: Exception) -> str:
    """Return the first line of an error; those of SQLAlchemy go on with the statement."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
