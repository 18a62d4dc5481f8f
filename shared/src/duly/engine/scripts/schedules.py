"""What schedulers do: claim slots. And what operators do to entries: trigger one."""

from collections.abc import Sequence
from dataclasses import dataclass

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Argument, Call, script

TICKS_KEPT = 1_000
TICKS_KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Due:
    """A slot with the task that it would become; without data it is only recorded."""

    slot_ms: int
    task_id: str = ""
    data: bytes = b""


def tick(
    keys: QueueKeys,
    *,
    entry: str,
    slots: Sequence[Due],
    next_ms: int,
    grace_ms: int = 0,
    claim_ms: int = -1,
    between: int = 0,
    overlap: str,
    catch_up: int = 0,
    held: bool = False,
    kept_ms: int = TICKS_KEPT_MS,
    now_ms: int = 0,
) -> Call:
    """Claim the last of some slots; those before it were missed. Answers as tick.lua says."""
    names = (keys.stream, keys.index, keys.ticks, keys.tick_history(entry))
    args: list[Argument] = [
        *(now_ms, GROUP, entry, slots[-1].slot_ms, next_ms, grace_ms, claim_ms, overlap, catch_up),
        *(int(held), TICKS_KEPT, kept_ms, between),
    ]
    for due in slots:
        args += (due.slot_ms, due.task_id, due.data)
    return Call(script("tick"), names, args)


def trigger(keys: QueueKeys, *, entry: str, task_id: str, data: bytes, now_ms: int = 0) -> Call:
    """Enqueue an entry's task beside its ticks. Answers 0 when there is a task of this id."""
    names = (keys.stream, keys.index, keys.ticks, keys.tick_history(entry))
    return Call(script("trigger"), names, (now_ms, entry, task_id, data, TICKS_KEPT))
