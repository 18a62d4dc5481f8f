"""Everything that an overview shows of all queues, at one instant and in one round trip.

Fifty queues are read by one call of a script. In a Cluster the keys of two queues are on two nodes,
so there each queue takes a call of its own.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from duly.clock import from_unix_ms
from duly.engine.inspection.brokers import Brokers
from duly.engine.inspection.counters import MINUTE_MS
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.queues import Queues
from duly.engine.inspection.schedules import Schedules
from duly.engine.inspection.servers import servers_of
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage import scripts
from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.engine.storage.decoding import (
    entry_from,
    entry_instant,
    overdue_in,
    pairs,
    pause_note_in,
    server_from,
    text_map,
    texts,
)
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import (
    BrokerReport,
    EntryReport,
    MinuteReport,
    QueueReport,
    ServerReport,
    ServerStatus,
)
from duly.engine.transport.errors import NoPermissionError
from duly.errors import BrokerDownError, BrokerError, DulyError, NotFoundError

SHOWN_MINUTES: Final = 61
"""How far back the minutes go: an hour, and the minute that is not over."""
_PER_CALL: Final = 50
"""A call on so many queues holds the broker up for a few milliseconds."""
_Counts = dict[int, tuple[int, int]]
"""Minute since 1970 → processed and failed in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All queues, and what serves them, at one instant of the broker's clock."""

    at: datetime
    queues: Sequence[QueueReport] = ()
    """By name; one that cannot be read says why in its `error`."""
    minutes: Mapping[str, Sequence[MinuteReport]]
    """Queue → its last 61 minutes, oldest first; nothing of one that cannot be read."""
    servers: Sequence[ServerReport] = ()
    entries: Sequence[EntryReport] = ()
    """By id, without their last ticks."""
    brokers: Sequence[BrokerReport] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """One queue of a snapshot."""

    queue: QueueReport
    counts: _Counts
    servers: Sequence[ServerReport] = ()
    entries: Sequence[EntryReport] = ()


class Overview:
    """Reads snapshots. One object keeps the minutes that are over: they are read once a minute."""

    def __init__(self, known: KnownQueues, queues: Queues, schedules: Schedules) -> None:
        self._known, self._store = known, known.store
        self._queues, self._schedules = queues, schedules
        self._brokers = Brokers(known)
        self._recent = SharedReading[None, Snapshot](lambda _: self.read())
        self._over: dict[str, _Counts] = {}
        self._read_in = 0
        """The minute in which those were read."""

    async def recent(self) -> Snapshot:
        """Return a snapshot that is about a second old at most, shared by all who ask.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        return await self._recent.get(None)

    @property
    def reads_at_once(self) -> bool:
        """Whether a reading takes a few commands, as one has shown: a viewer may run no script."""
        return self._known.may_run_scripts is True

    def forget(self) -> None:
        """Have the next snapshot read anew: something was changed."""
        self._recent.forget()

    async def read(self) -> Snapshot:
        """Read all queues.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        names, now_ms = await self._known.names(), self._store.now_ms()
        minute = now_ms // MINUTE_MS
        whole = minute != self._read_in
        parts = await self._parts(names, now_ms, whole=whole)
        self._keep(parts, minute, whole=whole)
        servers: dict[str, ServerReport] = {}
        for part in parts:
            for server in part.servers:
                seen = servers.get(server.id)
                if seen is None or seen.status is ServerStatus.LOST:
                    servers[server.id] = server
        return Snapshot(
            at=from_unix_ms(now_ms),
            queues=[part.queue for part in parts],
            minutes=self._series([part.queue for part in parts], minute),
            servers=sorted(servers.values(), key=lambda each: (each.host, each.pid, each.id)),
            entries=sorted((e for part in parts for e in part.entries), key=lambda each: each.id),
            brokers=await self._brokers.list(names),
        )

    async def _parts(self, names: Sequence[str], now_ms: int, *, whole: bool) -> list[_Part]:
        size = _PER_CALL if self._store.connection.cluster is None else 1
        chunks = [names[start : start + size] for start in range(0, len(names), size)]
        parts: list[_Part] = []
        for start in range(0, len(chunks), AT_ONCE):
            calls: list[Awaitable[list[_Part]]] = [
                self._chunk([queue_keys(name) for name in chunk], now_ms, whole=whole)
                for chunk in chunks[start : start + AT_ONCE]
            ]
            for answer in await concurrently(calls):
                if isinstance(answer, DulyError):
                    raise answer
                parts += answer
        return parts

    async def _chunk(self, keys: Sequence[QueueKeys], now_ms: int, *, whole: bool) -> list[_Part]:
        """Read some queues at once, and those that the script cannot read each by itself."""
        answers: Sequence[Any] = [None] * len(keys)
        try:
            if self._known.may_run_scripts is not False:
                answers = await self._store.run(scripts.survey(keys, now_ms=now_ms, whole=whole))
                self._known.may_run_scripts = True
        except BrokerDownError as error:
            if self._store.connection.cluster is None:
                raise
            # One node that does not answer hides no queue of another.
            return [_Part(QueueReport(name=each.name, error=str(error)), {}) for each in keys]
        except BrokerError as error:
            # A viewer has no right to run scripts. It is tried once: each refusal is an entry in
            # the broker's log of what was denied, where operators look for intruders.
            self._known.may_run_scripts = not isinstance(error.__cause__, NoPermissionError)
        parts = []
        for each, answer in zip(keys, answers, strict=True):
            try:
                part = None if answer is None else _part(each.name, answer, now_ms)
            except (ValueError, TypeError, LookupError, OverflowError):
                part = None
            parts.append(part or await self._alone(each))
        return parts

    async def _alone(self, keys: QueueKeys) -> _Part:
        """Read one queue by plain commands, which say what is wrong with it."""
        try:
            report = await self._queues.get(keys.name)
            minutes = await self._queues.minutes(keys.name, count=SHOWN_MINUTES)
            servers = await servers_of(self._store, keys)
            entries = await self._schedules.of_queue(keys)
        except BrokerDownError:
            raise
        except (BrokerError, NotFoundError) as error:
            return _Part(QueueReport(name=keys.name, error=str(error)), {})
        counts = {int(each.at.timestamp()) // 60: (each.processed, each.failed) for each in minutes}
        return _Part(report, counts, servers, entries)

    def _keep(self, parts: Sequence[_Part], minute: int, *, whole: bool) -> None:
        """Keep the counts of each queue; those of the last two minutes are always new."""
        old = {} if whole else self._over
        self._over = {
            part.queue.name: {**old.get(part.queue.name, {}), **part.counts}
            for part in parts
            if not part.queue.error
        }
        self._read_in = minute

    def _series(
        self, queues: Sequence[QueueReport], minute: int
    ) -> dict[str, Sequence[MinuteReport]]:
        shown = range(minute - SHOWN_MINUTES + 1, minute + 1)
        instants = [from_unix_ms(each * MINUTE_MS) for each in shown]
        nothing = [MinuteReport(at=at, processed=0, failed=0) for at in instants]
        found: dict[str, Sequence[MinuteReport]] = {}
        for queue in queues:
            counts = self._over.get(queue.name)
            if counts is None:
                found[queue.name] = ()
                continue
            series = [*nothing] if counts else nothing
            for each, (processed, failed) in counts.items():
                if each in shown:
                    place = each - shown.start
                    series[place] = MinuteReport(
                        at=instants[place], processed=processed, failed=failed
                    )
            found[queue.name] = series
        return found


def _part(name: str, answer: Sequence[Any], now_ms: int) -> _Part:
    """Read what survey.lua says of one queue."""
    *counted, leases, described, announced, ticks, minutes = answer
    ends = {texts([server])[0]: float(end) for server, end in pairs(leases)}
    servers = [
        server_from(server, description, ends.get(server), now_ms)
        for server, description in text_map(described).items()
    ]
    known = text_map(ticks)
    entries = [
        entry_from(entry, description, queue=name, counts=known, last=None, now_ms=now_ms)
        for entry, description in text_map(announced).items()
    ]
    counts = _counts(minutes, now_ms)
    understood = [server for server in servers if server is not None]
    return _Part(
        _report(name, counted, counts, understood, now_ms),
        counts,
        understood,
        [entry for entry in entries if entry is not None],
    )


def _report(
    name: str,
    counted: Sequence[Any],
    counts: _Counts,
    servers: Sequence[ServerReport],
    now_ms: int,
) -> QueueReport:
    length, delivered, oldest, sizes, totals, day, paused, note, due = counted
    scheduled, retry, archived, completed, quarantined, aggregating = sizes
    ever, today = text_map(totals), text_map(day)
    by, reason = pause_note_in(note)
    active = min(delivered, length)
    live = [server for server in servers if server.status is not ServerStatus.LOST]
    since = entry_instant(oldest)
    processed, failed = _last_minute(counts, now_ms)
    return QueueReport(
        name=name,
        waiting=length - active,
        active=active,
        scheduled=scheduled,
        retry=retry,
        archived=archived,
        completed=completed,
        quarantined=quarantined,
        aggregating=aggregating,
        processed=ever.get("processed", 0),
        failed=ever.get("failed", 0),
        crashed=ever.get("crashed", 0),
        archive_dropped=ever.get("archived_dropped", 0),
        processed_per_minute=processed,
        failed_per_minute=failed,
        processed_today=today.get("processed", 0),
        failed_today=today.get("failed", 0),
        oldest_waiting=max(timedelta(0), from_unix_ms(now_ms) - since) if since else None,
        overdue=overdue_in(due, now_ms),
        servers=len(live),
        concurrency=sum(server.concurrency for server in live),
        paused_since=from_unix_ms(int(paused)) if paused.isdigit() else None,
        paused_by=by if paused else "",
        pause_reason=reason if paused else "",
    )


def _counts(minutes: Sequence[int], now_ms: int) -> _Counts:
    """Read groups of four: hours ago, minute of that hour, processed, failed."""
    hour = now_ms // MINUTE_MS // 60
    return {
        (hour - ago) * 60 + minute: (processed, failed)
        for ago, minute, processed, failed in zip(
            minutes[::4], minutes[1::4], minutes[2::4], minutes[3::4], strict=True
        )
    }


def _last_minute(counts: _Counts, now_ms: int) -> tuple[int, int]:
    """Return the counts of the last sixty seconds, as `counters.last_minute` reckons them."""
    minute, share = now_ms // MINUTE_MS, 1 - now_ms % MINUTE_MS / MINUTE_MS
    now, before = counts.get(minute, (0, 0)), counts.get(minute - 1, (0, 0))
    return now[0] + round(before[0] * share), now[1] + round(before[1] * share)
