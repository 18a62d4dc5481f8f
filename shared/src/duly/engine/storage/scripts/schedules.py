"""What schedulers do: claim slots. And what operators do to entries: trigger one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys, entry_claim_key
from duly.engine.storage.scripts.call import Call, call
from duly.engine.storage.scripts.declaration import Script

TICKS_KEPT = 1_000
TICKS_KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Due:
    """A slot with the task that it would become; without data it is only recorded."""

    slot_ms: int
    task_id: str = ""
    data: bytes = b""
    lock: str = ""
    lock_ttl_ms: int = 0


@dataclass(frozen=True, slots=True)
class LastClaim:
    """The last claim of an entry, as its scheduler knows it."""

    slot_ms: int = -1
    """-1: none."""
    elsewhere_ms: int = -1
    """The last slot that was claimed for another queue; -1: none."""
    between: int = 0
    """Slots between the last claim and the one that is claimed now."""
    elsewhere_cadence: str = ""
    """What that slot is one of; "": nobody knows."""


_NONE = LastClaim()


class _ClaimSlot(NamedTuple):
    now_ms: int
    queue: str
    slot_ms: int
    next_ms: int
    cadence: str


_CLAIM_SLOT = Script("claim_slot", (), _ClaimSlot, own_keys=("claim",))


def claim_slot(
    keys: QueueKeys,
    *,
    entry: str,
    slot_ms: int,
    next_ms: int,
    cadence: str = "",
    now_ms: int = 0,
) -> Call:
    """Claim a slot for this queue. Answers as claim_slot.lua says."""
    arguments = _ClaimSlot(now_ms, keys.name, slot_ms, next_ms, cadence)
    return call(_CLAIM_SLOT, keys, arguments, own_keys=(entry_claim_key(entry),))


class _Tick(NamedTuple):
    now_ms: int
    group: str
    entry: str
    slot_ms: int
    next_ms: int
    grace_ms: int
    claim_ms: int
    overlap: str
    catch_up: int
    held: int
    ticks_kept: int
    ticks_kept_ms: int
    between: int
    elsewhere_ms: int
    cadence: str
    elsewhere_cadence: str


class _Due(NamedTuple):
    slot_ms: int
    id: str
    data: bytes
    lock: str
    lock_ttl_ms: int


_TICK = Script(
    "tick",
    ("stream", "index", "ticks", "locks"),
    _Tick,
    own_keys=("tick_history",),
    rows={"due": _Due},
)


def tick(
    keys: QueueKeys,
    *,
    entry: str,
    slots: Sequence[Due],
    next_ms: int,
    grace_ms: int = 0,
    last: LastClaim = _NONE,
    cadence: str = "",
    overlap: str,
    catch_up: int = 0,
    held: bool = False,
    kept_ms: int = TICKS_KEPT_MS,
    now_ms: int = 0,
) -> Call:
    """Claim the last of some slots; those before it were missed. Answers as tick.lua says."""
    arguments = _Tick(
        now_ms=now_ms,
        group=GROUP,
        entry=entry,
        slot_ms=slots[-1].slot_ms,
        next_ms=next_ms,
        grace_ms=grace_ms,
        claim_ms=last.slot_ms,
        overlap=overlap,
        catch_up=catch_up,
        held=int(held),
        ticks_kept=TICKS_KEPT,
        ticks_kept_ms=kept_ms,
        between=last.between,
        elsewhere_ms=last.elsewhere_ms,
        cadence=cadence,
        elsewhere_cadence=last.elsewhere_cadence,
    )
    return call(
        _TICK,
        keys,
        arguments,
        own_keys=(keys.tick_history(entry),),
        rows=[_Due(due.slot_ms, due.task_id, due.data, due.lock, due.lock_ttl_ms) for due in slots],
    )


class _Trigger(NamedTuple):
    now_ms: int
    entry: str
    id: str
    data: bytes
    ticks_kept: int
    lock: str
    lock_ttl_ms: int


_TRIGGER = Script(
    "trigger", ("stream", "index", "ticks", "locks"), _Trigger, own_keys=("tick_history",)
)


def trigger(
    keys: QueueKeys,
    *,
    entry: str,
    task_id: str,
    data: bytes,
    lock: str = "",
    lock_ttl_ms: int = 0,
    now_ms: int = 0,
) -> Call:
    """Enqueue an entry's task beside its ticks. Answers 1, 0 (id taken) or the lock's holder."""
    arguments = _Trigger(now_ms, entry, task_id, data, TICKS_KEPT, lock, lock_ttl_ms)
    return call(_TRIGGER, keys, arguments, own_keys=(keys.tick_history(entry),))
