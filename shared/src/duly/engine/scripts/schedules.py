"""What schedulers do: claim slots."""

from duly.engine.keys import QueueKeys
from duly.engine.scripts.call import Call, script

TICKS_KEPT = 1_000


def tick(
    keys: QueueKeys,
    *,
    entry: str,
    slot_ms: int,
    interval_ms: int,
    overlap: str,
    task_id: str,
    data: bytes,
    now_ms: int = 0,
) -> Call:
    """Claim a slot. Answers [now-ms, outcome, task id]."""
    names = (keys.stream, keys.index, keys.ticks, keys.tick_history(entry))
    args = (now_ms, entry, slot_ms, interval_ms, overlap, task_id, data, TICKS_KEPT)
    return Call(script("tick"), names, args)
