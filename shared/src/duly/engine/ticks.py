"""The scheduler's side: claim slots of entries, and tell the inspector which entries there are."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import msgspec

from duly.clock import from_unix_ms, to_ms
from duly.engine import scripts
from duly.engine.codec import Message, encode
from duly.engine.keys import QueueKeys, queue_keys
from duly.engine.replies import EntryRecord
from duly.engine.reports import TickOutcome, TickReport
from duly.engine.scripts import Call, Due
from duly.engine.store import Store
from duly.runtime.settings import RedisSettings
from duly.schedule import Entry

_MOST_GUESSES = 5
_MOST_RECORDED = 100
_LONGEST_WAIT_MS = 60_000
_HISTORY_AGE = timedelta(days=7)
_NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one look at an entry led to."""

    wait: timedelta
    """How long until the next slot begins; a minute at most, then look again."""
    reports: tuple[TickReport, ...] = ()
    """The ticks that were claimed, oldest first; none when another replica had them."""
    missed: int = 0
    """Slots that nobody claimed in time and that are not made up for."""


class Ticks:
    """Claims slots. Any number of replicas may, at any time: a slot is claimed once.

    Slots come from the broker's clock, not from this machine's.
    """

    def __init__(self, store: Store, *, history_age: timedelta = _HISTORY_AGE) -> None:
        self._store, self._kept_ms = store, to_ms(history_age)
        self._claims: dict[tuple[str, str], int] = {}

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, settings: RedisSettings, *, history_age: timedelta = _HISTORY_AGE
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        async with Store.open(settings) as store:
            yield cls(store, history_age=history_age)

    async def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks.

        Raises:
            BrokerDownError: No answer within the timeout.
            BrokerPolicyError: The broker evicts keys, and `redis.allow_eviction` is off.
        """
        await self._store.connection.check()

    async def tick(self, entry: Entry) -> Turn:
        """Claim the entry's current slot and enqueue its task, in one atomic step.

        What was missed since the last claim is recorded in the same step, and made up for as the
        entry's `catch_up` says.

        Raises:
            BrokerDownError: Try again; a tick whose reply was lost is not enqueued twice.
        """
        keys = await self._store.register(entry.target)
        for _ in range(_MOST_GUESSES):
            call, next_ms = self._call(keys, entry)
            now_ms, answer, claim, _, missed, *recorded = await self._store.run(call)
            self._store.saw_time(now_ms)
            if answer in {b"early", b"late"}:
                continue  # this machine's idea of the broker's time was off; it is better now
            self._claims[keys.name, entry.id] = int(claim)
            if answer == b"moved":
                continue  # another replica has claimed since; now we know up to where
            return Turn(
                wait=timedelta(milliseconds=max(1, min(next_ms - now_ms, _LONGEST_WAIT_MS))),
                reports=_reports(entry.id, recorded, now_ms),
                missed=missed,
            )
        return Turn(wait=timedelta(milliseconds=1))

    def _call(self, keys: QueueKeys, entry: Entry) -> tuple[Call, int]:
        """Return the claim of the current slot with what was missed before it, and the next slot.

        Both are of the broker's time as far as it is known, and of the last claim, as it was
        last seen; the script refuses them when one of them is wrong.
        """
        cadence, catch_up = entry.cadence, entry.most_caught_up
        slot_ms, next_ms = cadence.around(self._store.now_ms())
        claim_ms = self._claims.get((keys.name, entry.id), _NEVER)
        between, missed = 0, list[int]()
        if _NEVER < claim_ms < slot_ms:
            most = max(_MOST_RECORDED, catch_up)
            between, missed = cadence.between(claim_ms, slot_ms, most)
        recorded_only, now_ms = max(0, len(missed) - catch_up), self._store.now_ms()
        slots = [Due(missed_ms) for missed_ms in missed[:recorded_only]]
        slots += [_due(entry, at_ms, now_ms) for at_ms in missed[recorded_only:]]
        late = 0 < cadence.grace_ms <= now_ms - slot_ms
        slots.append(_due(entry, slot_ms, now_ms if late else slot_ms))
        call = scripts.tick(
            keys,
            entry=entry.id,
            slots=slots,
            next_ms=next_ms,
            grace_ms=cadence.grace_ms,
            claim_ms=claim_ms,
            between=between,
            overlap=entry.overlap.value,
            catch_up=catch_up,
            held=entry.paused,
            kept_ms=self._kept_ms,
        )
        return call, next_ms

    async def announce(self, entries: Iterable[Entry]) -> None:
        """Tell the inspector which entries the timetable has. Idempotent; repeat every minute."""
        for entry in entries:
            keys = await self._store.register(entry.target)
            record = EntryRecord(
                kind=entry.job.kind,
                interval_ms=to_ms(entry.interval) if entry.interval else 0,
                cron=entry.cron or "",
                timezone=entry.timezone,
                overlap=entry.overlap.value,
                catch_up=entry.catch_up.value,
                held=entry.paused,
                announced_ms=self._store.now_ms(),
                payload=entry.job.model_dump(mode="json"),
            )
            await self._store.connection.command(
                "HSET", keys.entries, entry.id, msgspec.json.encode(record)
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


def _due(entry: Entry, slot_ms: int, alive_from_ms: int) -> Due:
    """Return a slot with its task, whose lifetime, if it has one, begins at an instant."""
    lifetime = entry.job.policy.lifetime
    labels = {} if lifetime is None else {"deadline_ms": alive_from_ms + to_ms(lifetime)}
    task_id = f"{entry.id}@{from_unix_ms(slot_ms):%Y-%m-%dT%H:%M:%SZ}"
    message = Message(
        task_id=task_id,
        task_name=entry.job.kind,
        labels=labels,
        kwargs=entry.job.model_dump(mode="json"),
    )
    return Due(slot_ms, task_id, encode(message))


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
