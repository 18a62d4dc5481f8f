"""The scheduler's side: claims slots of entries, and announces which entries there are."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import msgspec

from duly.clock import from_unix_ms, to_ms
from duly.described_job import DescribedJob
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.enqueue.request import Request, prepare
from duly.engine.middleware.tracing import headers_of_current_span, root, sending
from duly.engine.storage import scripts
from duly.engine.storage.catalogue import published_job
from duly.engine.storage.decoding import EntryRecord
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import TickOutcome, TickReport
from duly.engine.storage.scripts import Call, Due, LastClaim
from duly.engine.storage.store import Store
from duly.payload import encode as encode_payload
from duly.runtime.settings import RedisSettings
from duly.schedule import Entry
from duly.task import SLOT_HEADER, TaskState, tick_id

_MOST_GUESSES = 5
_MOST_RECORDED = 100
_LONGEST_WAIT_MS = 60_000
_HISTORY_AGE = timedelta(days=7)
_NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TickResult:
    """What one look at an entry resulted in."""

    wait: timedelta
    """How long until the next slot begins; a minute at most, then look again."""
    reports: tuple[TickReport, ...] = ()
    """The ticks that were claimed, oldest first; none when another replica had them."""
    missed: int = 0
    """Slots that nobody claimed in time and that are not made up for."""
    taken: datetime | None = None
    """The slot, if it had been claimed before, by this replica or by another."""
    unmet: bool = False
    """Whether the slot claimed before got a task which had not succeeded when this was claimed."""


class Ticks:
    """Claims slots. Any number of replicas may, at any time: a slot is claimed once.

    Slots come from the broker's clock, not from this machine's.

    Args:
        store: The broker.
        history_age: How long recorded ticks are kept.
        app: Name of the application, for the catalogue of kinds.
    """

    def __init__(
        self, store: Store, *, history_age: timedelta = _HISTORY_AGE, app: str = ""
    ) -> None:
        self._store, self._kept_ms = store, to_ms(history_age)
        self._kinds = KindPublisher(store, app=app)
        self._claims: dict[tuple[str, str], int] = {}
        self._ahead_ms = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, settings: RedisSettings, *, history_age: timedelta = _HISTORY_AGE, app: str = ""
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        async with Store.open(settings) as store:
            yield cls(store, history_age=history_age, app=app)

    async def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks.

        Raises:
            BrokerDownError: No answer within the timeout.
            BrokerPolicyError: The broker evicts keys, and `redis.allow_eviction` is off.
        """
        await self._store.connection.check()

    async def tick(self, entry: Entry) -> TickResult:
        """Claim the entry's current slot and enqueue its task, in one atomic step.

        Slots missed since the last claim are recorded in the same step, and made up for as the
        entry's `catch_up` says.

        Raises:
            EnqueueError: Its job cannot be enqueued; `Entry.check` says so before.
            BrokerDownError: Try again; a tick whose reply was lost is not enqueued twice.
        """
        keys = await self._store.register(entry.target)
        for _ in range(_MOST_GUESSES):
            slot_ms, next_ms = entry.cadence.around(self._now_ms())
            claim_call = scripts.claim_slot(
                keys,
                entry=entry.id,
                slot_ms=slot_ms,
                next_ms=next_ms,
                cadence=entry.cadence.notation,
            )
            now_ms, answer, *elsewhere = await self._store.run(claim_call)
            self._saw_time(now_ms)
            if answer in {b"early", b"late"}:
                continue  # this machine's estimate of the broker's time was off; it is better now
            wait = timedelta(milliseconds=max(1, min(next_ms - now_ms, _LONGEST_WAIT_MS)))
            if answer == b"taken":
                return TickResult(wait=wait, taken=from_unix_ms(slot_ms))
            unmet = await self._is_unmet(keys, entry)
            with root(f"tick {entry.id}", _named(entry, slot_ms)) as span:
                with sending(entry.target, entry.job.kind):
                    call = self._call(keys, entry, slot_ms, next_ms, elsewhere)
                    now_ms, answer, claim, _, missed, *recorded = await self._store.run(call)
                if span is not None:
                    span.set_attribute("duly.ticks", _outcomes(recorded) or [str(answer, "ascii")])
            self._saw_time(now_ms)
            if answer in {b"early", b"late"}:
                continue
            self._claims[keys.name, entry.id] = int(claim)
            if answer == b"moved":
                continue  # another replica has claimed since; the next guess knows what
            return TickResult(
                wait=wait,
                reports=_reports(entry.id, recorded, now_ms),
                missed=missed,
                taken=None if recorded else from_unix_ms(slot_ms),
                unmet=unmet and answer == b"claimed",
            )
        return TickResult(wait=timedelta(milliseconds=1))

    async def _is_unmet(self, keys: QueueKeys, entry: Entry) -> bool:
        """Tell whether the slot claimed last has a task that has not succeeded.

        A success is in the index no more, or kept. A slot that was skipped or paused has no task.
        """
        claim_ms = self._claims.get((keys.name, entry.id), _NEVER)
        task_id = tick_id(entry.id, claim_ms)
        place = await self._store.connection.command("HGET", keys.index, task_id)
        return place not in {None, TaskState.COMPLETED.value.encode()}

    def _call(
        self, keys: QueueKeys, entry: Entry, slot_ms: int, next_ms: int, elsewhere: Sequence[bytes]
    ) -> Call:
        """Return the tick of a slot with what was missed before it.

        It goes by the broker's time as far as it is known, and by the last claim as it was last
        seen; the script refuses it when one of them is wrong. `elsewhere` is the last slot that was
        claimed for another queue, and its cadence.
        """
        cadence, catch_up = entry.cadence, entry.most_caught_up
        elsewhere_ms = int(elsewhere[0])
        claim_ms = max(self._claims.get((keys.name, entry.id), _NEVER), elsewhere_ms)
        between, missed = 0, list[int]()
        if _NEVER < claim_ms < slot_ms:
            most = max(_MOST_RECORDED, catch_up)
            between, missed = cadence.between(claim_ms, slot_ms, most)
        recorded_only, now_ms = max(0, len(missed) - catch_up), self._now_ms()
        slots = [Due(missed_ms) for missed_ms in missed[:recorded_only]]
        made_up = missed[recorded_only:]
        slots += [
            _due(entry, at_ms, after_ms, now_ms)
            for at_ms, after_ms in zip(made_up, [*made_up[1:], slot_ms], strict=False)
        ]
        late = 0 < cadence.grace_ms <= now_ms - slot_ms
        slots.append(_due(entry, slot_ms, next_ms, now_ms if late else slot_ms))
        return scripts.tick(
            keys,
            entry=entry.id,
            slots=slots,
            next_ms=next_ms,
            grace_ms=cadence.grace_ms,
            last=LastClaim(claim_ms, elsewhere_ms, between, elsewhere[1].decode(errors="replace")),
            cadence=cadence.notation,
            overlap=entry.overlap.value,
            catch_up=catch_up,
            held=entry.paused,
            kept_ms=self._kept_ms,
        )

    def _saw_time(self, now_ms: int) -> None:
        """Follow the broker's clock at once, wherever it jumps: slots go by nothing else."""
        self._store.saw_time(now_ms)
        self._ahead_ms = now_ms - self._store.now_ms()

    def _now_ms(self) -> int:
        return self._store.now_ms() + self._ahead_ms

    async def publish_kinds(self, entries: Iterable[Entry]) -> None:
        """Publish the kinds of entries, where that is due; see `KindPublisher.publish`."""
        await self._kinds.publish({type(entry.job) for entry in entries})

    async def job(self, kind: str) -> type[DescribedJob]:
        """Return a class of jobs for a kind of the catalogue; raises as `Kinds.job`."""
        return await published_job(self._store, kind)

    async def announce(self, entries: Iterable[Entry]) -> None:
        """Announce which entries the timetable has. Idempotent; repeat every minute.

        Raises:
            BrokerError: The broker did not answer.
            Exception: What the payload of the first entry raised that has no record, such as a
                serializer of its own; the others are announced.
        """
        failures: list[Exception] = []
        for entry in entries:
            try:
                record = msgspec.json.encode(self._record(entry))
            except Exception as error:  # noqa: BLE001 - one entry must not hide the others
                failures.append(error)
                continue
            keys = await self._store.register(entry.target)
            await self._store.connection.command("HSET", keys.entries, entry.id, record)
        if failures:
            raise failures[0]

    def _record(self, entry: Entry) -> EntryRecord:
        return EntryRecord(
            kind=entry.job.kind,
            interval_ms=to_ms(entry.interval) if entry.interval else 0,
            cron=entry.cron or "",
            timezone=entry.timezone,
            overlap=entry.overlap.value,
            catch_up=entry.catch_up.value,
            held=entry.paused,
            announced_ms=self._store.now_ms(),
            payload=encode_payload(entry.job),
            unique_ms=_unique_ms(entry),
        )

    async def withdraw(self, entries: Iterable[Entry]) -> None:
        """Take entries from the inspector's list; their claims stay, their history runs out.

        Idempotent. A replica that still has them announces them again.
        """
        for entry in entries:
            keys = queue_keys(entry.target)
            await self._store.connection.many(
                [
                    ("HDEL", keys.entries, entry.id),
                    ("PEXPIRE", keys.tick_history(entry.id), self._kept_ms),
                ]
            )


def _due(entry: Entry, slot_ms: int, next_ms: int, alive_from_ms: int) -> Due:
    """Return a slot with its task, whose lifetime, if it has one, begins at an instant.

    The task is told when the next slot begins: it should have succeeded by then.
    """
    task_id = tick_id(entry.id, slot_ms)
    request = Request(job=entry.job, queue=entry.queue, task_id=task_id)
    traced = {SLOT_HEADER: f"{slot_ms} {next_ms}", **headers_of_current_span()}
    new = prepare(request, alive_from_ms, traced).new
    return Due(slot_ms, task_id, new.data, new.lock, new.lock_ttl_ms)


def _named(entry: Entry, slot_ms: int) -> dict[str, Any]:
    """Return the attributes of a tick's span."""
    slot = from_unix_ms(slot_ms).isoformat()
    return {"duly.entry": entry.id, "duly.slot": slot, "duly.kind": entry.job.kind}


def _outcomes(recorded: Sequence[Any]) -> list[str]:
    return [bytes(part).decode(errors="replace") for part in recorded[1::3]]


def _unique_ms(entry: Entry) -> int:
    unique_for = entry.job.policy.unique_for
    return to_ms(unique_for) if unique_for else 0


def _reports(entry: str, recorded: Sequence[Any], now_ms: int) -> tuple[TickReport, ...]:
    texts = [bytes(part).decode(errors="replace") for part in recorded]
    return tuple(
        TickReport(
            entry=entry,
            slot=from_unix_ms(int(slot)),
            outcome=TickOutcome(outcome),
            task_id=task_id,
            at=from_unix_ms(now_ms),
        )
        for slot, outcome, task_id in zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    )
