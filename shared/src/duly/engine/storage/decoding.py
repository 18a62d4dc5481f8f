"""Turns replies of the broker into tasks and reports; of foreign messages, what can be read."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from duly.cadence import cadence_of
from duly.clock import from_unix_ms
from duly.encodable import encodable
from duly.engine.storage.attempts import attempts_of, first_wait, success_of
from duly.engine.storage.codec import ID_LIMIT, Message, arguments_of, decode
from duly.engine.storage.reports import (
    DeadLetter,
    EntryReport,
    RunningTask,
    ServerReport,
    ServerStatus,
    TickOutcome,
    TickReport,
)
from duly.errors import ConfigError, MalformedTaskError
from duly.task import NOTE_LIMIT, Progress, Task, TaskState

_SLOTS_SHOWN = 5
_MS = timedelta(milliseconds=1)


class RunningRecord(msgspec.Struct):
    """One running task in a server's description."""

    id: str
    kind: str
    queue: str
    started_ms: int
    stuck: bool = False
    fraction: float | None = None
    note: str = ""


class ServerRecord(msgspec.Struct):
    """A server's description of itself, sent with each heartbeat."""

    host: str
    pid: int
    queues: dict[str, int]
    concurrency: int
    started_ms: int
    beat_ms: int
    lease_ms: int
    draining: bool = False
    quiet: bool = False
    version: str = ""
    running: list[RunningRecord] = []
    kinds: list[str] = []


class _Described(msgspec.Struct):
    """What servers and entries have in common: when they were described."""

    beat_ms: int = 0
    announced_ms: int = 0


class EntryRecord(msgspec.Struct):
    """A schedule entry as a scheduler announces it."""

    kind: str
    interval_ms: int
    overlap: str
    announced_ms: int
    payload: dict[str, Any] = {}
    cron: str = ""
    timezone: str = "UTC"
    catch_up: str = "skip"
    held: bool = False
    unique_ms: int = 0


def pairs(answer: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Read a reply of alternating items."""
    return list(zip(answer[::2], answer[1::2], strict=True))


def text_map(answer: Sequence[Any]) -> dict[str, Any]:
    """Read a map whose keys are text; the values stay as they are."""
    return {_text(key): value for key, value in pairs(answer)}


DUE_STATES = (TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING)
"""Those in which something becomes due, in the order of the scripts."""


def overdue_in(scores: Sequence[bytes], now_ms: int) -> dict[TaskState, timedelta]:
    """Return how long tasks have been due, of each state in which some are.

    Args:
        scores: The lowest of `scheduled`, `retry` and `groups`, in this order; b"": it is empty.
        now_ms: The broker's time.
    """
    found = {}
    for state, score in zip(DUE_STATES, scores, strict=True):
        # A stranger's score may be anything, and no task was ever due before 1970.
        due_ms = max(0.0, float(score or "inf"))
        if due_ms < now_ms:
            found[state] = timedelta(milliseconds=now_ms - due_ms)
    return found


def entry_instant(entry: bytes) -> datetime | None:
    """Return when a stream entry was added: its id begins with the ms."""
    ms = entry.partition(b"-")[0]
    return from_unix_ms(int(ms)) if ms.isdigit() and len(ms) < 16 else None  # noqa: PLR2004


def task_from(
    *,
    queue: str,
    task_id: str,
    state: TaskState,
    data: bytes | None,
    tries: bytes | None = None,
    history: bytes | None = None,
    result: bytes | None = None,
    score_ms: float | None = None,
    server: str = "",
    enqueued_at: datetime | None = None,
) -> Task:
    """Build a task from its parts. A message that cannot be read leaves kind and payload empty."""
    message = _message(data)
    kind = message.task_name[:ID_LIMIT] if message else ""
    attempts, crashes = tries_of(tries)
    instant = from_unix_ms(score_ms) if score_ms is not None else None
    due = state in {TaskState.SCHEDULED, TaskState.RETRY, TaskState.COMPLETED}
    ended_at = instant if state in {TaskState.ARCHIVED, TaskState.QUARANTINED} else None
    limit = message.labels.get("max_attempts") if message else None
    success, failures = success_of(attempts_of(history))
    if enqueued_at is None and not crashes:
        enqueued_at = first_wait(success, failures)
    if success is not None and state is TaskState.COMPLETED:
        ended_at = success.at
    return Task(
        id=task_id,
        queue=queue,
        kind=kind,
        state=state,
        payload=arguments_of(message) if message else {},
        labels=message.labels if message else {},
        attempts=attempts,
        crashes=crashes,
        max_attempts=limit if isinstance(limit, int) else 0,
        enqueued_at=instant if state is TaskState.AGGREGATING else enqueued_at,
        due_at=instant if due else None,
        ended_at=ended_at,
        server=server,
        history=failures,
        success=success,
        result=result_of(result),
    )


def tries_of(tries: bytes | None) -> tuple[int, int]:
    """Read attempts and crashes of "attempts crashes …"."""
    attempts, _, rest = (tries or b"0 0").partition(b" ")
    crashes = rest.partition(b" ")[0]
    if attempts.isdigit() and crashes.isdigit():
        return int(attempts[:9]), int(crashes[:9])
    return 0, 0


def server_from(server_id: str, description: bytes, lease_end_ms: float | None, now_ms: int) -> (
    ServerReport | None
):  # fmt: skip
    """Read a server's description; None when it is not one."""
    try:
        record = msgspec.json.decode(description, type=ServerRecord)
    except msgspec.DecodeError:
        return None
    status = ServerStatus.QUIET if record.quiet else ServerStatus.RUNNING
    if record.draining:
        status = ServerStatus.DRAINING
    beat_ms = record.beat_ms
    if lease_end_ms is None or lease_end_ms <= now_ms:
        status = ServerStatus.LOST
    else:
        beat_ms = round(min(lease_end_ms, 2**53)) - record.lease_ms
    return ServerReport(
        id=server_id,
        host=record.host,
        pid=record.pid,
        queues=record.queues,
        concurrency=record.concurrency,
        started_at=from_unix_ms(record.started_ms),
        beat_at=from_unix_ms(beat_ms),
        status=status,
        version=record.version,
        kinds=tuple(record.kinds),
        running=tuple(
            RunningTask(
                id=task.id,
                kind=task.kind,
                queue=task.queue,
                started_at=from_unix_ms(task.started_ms),
                stuck=task.stuck,
                progress=_progress(task),
            )
            for task in record.running
        ),
    )


def progress_in(description: bytes | None, task_id: str) -> Progress | None:
    """Return how far a server says a task has come; None when it does not say."""
    try:
        record = msgspec.json.decode(description or b"", type=ServerRecord)
    except msgspec.DecodeError:
        return None
    return next((_progress(task) for task in record.running if task.id == task_id), None)


def _progress(task: RunningRecord) -> Progress | None:
    if task.fraction is None:
        return None
    return Progress(min(1.0, max(0.0, task.fraction)), task.note[:NOTE_LIMIT])


def described_ms(description: bytes) -> int:
    """Return when a server or an entry last described itself; 0 when that cannot be read."""
    try:
        record = msgspec.json.decode(description, type=_Described)
    except msgspec.DecodeError:
        return 0
    return max(record.beat_ms, record.announced_ms)


def tick_from(entry: str, stream_id: bytes, fields: Sequence[bytes]) -> TickReport | None:
    """Read one recorded tick; None when it is not one."""
    values = text_map(fields)
    try:
        return TickReport(
            entry=entry,
            slot=from_unix_ms(int(values["slot"])),
            outcome=TickOutcome(_text(values["outcome"])),
            task_id=_text(values["task"]),
            at=from_unix_ms(int(stream_id.partition(b"-")[0])),
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def entry_from(
    entry: str,
    description: bytes,
    *,
    queue: str,
    counts: dict[str, Any],
    last: TickReport | None,
    now_ms: int,
) -> EntryReport | None:
    """Read an announced schedule entry; None when it is not one."""
    try:
        record = msgspec.json.decode(description, type=EntryRecord)
        interval = record.interval_ms * _MS if record.interval_ms else None
        cadence = cadence_of(interval, record.cron or None, record.timezone)
        claim_ms = _claim_ms(counts.get(entry), now_ms)
        following = cadence.after(now_ms, _SLOTS_SHOWN)
        next_ms = following[0] if claim_ms is None else cadence.after(claim_ms, 1)[0]
    except (msgspec.DecodeError, ConfigError, OverflowError, IndexError):
        return None
    since = counts.get(f"{entry}:paused-since")
    return EntryReport(
        id=entry,
        kind=record.kind,
        queue=queue,
        interval=interval,
        cron=record.cron or None,
        timezone=record.timezone,
        description=cadence.description,
        overlap=record.overlap,
        catch_up=record.catch_up,
        held=record.held,
        payload=record.payload,
        next_slot=from_unix_ms(next_ms),
        next_slots=tuple(map(from_unix_ms, following)),
        last=last,
        paused_since=from_unix_ms(int(since)) if since and since.isdigit() else None,
        **{
            outcome.value: int(counts.get(f"{entry}:{outcome.value}", 0)) for outcome in TickOutcome
        },
    )


def _claim_ms(claim: bytes | None, now_ms: int) -> int | None:
    """Return the last claimed slot, of "slot-ms task-id"; None when there is none to go by."""
    slot = (claim or b"").partition(b" ")[0]
    slot_ms = int(slot) if slot.isdigit() and len(slot) < 16 else 0  # noqa: PLR2004
    return slot_ms if 0 < slot_ms <= now_ms else None


def sum_counts(hash_: dict[str, Any], outcome: str, prefix: str = "") -> int:
    """Sum the counts of one outcome over all kinds."""
    return sum(
        int(value)
        for name, value in hash_.items()
        if name.endswith(f":{outcome}") and name.startswith(prefix)
    )


ONCE_TOO_OFTEN: Final = (
    "its server died, once too often (out of memory, or a crash in native code?): "
    "give it more memory, or run it in a process, which dies alone"
)


def crashed(queue: str, flat: Iterable[Any]) -> list[DeadLetter]:
    """Read which tasks reap.lua has quarantined."""
    names = texts(flat)
    return [
        DeadLetter(
            queue=queue,
            task_id=task_id,
            kind=kind,
            state=TaskState.QUARANTINED,
            reason=ONCE_TOO_OFTEN,
        )
        for task_id, kind in zip(names[::2], names[1::2], strict=True)
    ]


def texts(items: Iterable[Any]) -> list[str]:
    """Read a list of texts."""
    return [_text(item) for item in items]


def _message(data: bytes | None) -> Message | None:
    try:
        return decode(data) if data else None
    except MalformedTaskError:
        return None


def result_of(data: bytes | None) -> Any:  # noqa: ANN401 - a handler's own result
    """Read a handler's result; None where there is none, or it is not JSON."""
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(value: Any) -> str:  # noqa: ANN401 - bytes, or text already
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class _PauseNote(msgspec.Struct):
    """Who paused a queue, and why."""

    by: str = ""
    reason: str = ""


def pause_note(by: str, reason: str) -> bytes:
    """Return what is kept of who paused a queue, and why."""
    return msgspec.json.encode(_PauseNote(encodable(by[:100]), encodable(reason[:500])))


def pause_note_in(data: bytes | None) -> tuple[str, str]:
    """Return who paused a queue, and why; nothing where it cannot be read."""
    try:
        note = msgspec.json.decode(data or b"{}", type=_PauseNote)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    return note.by, note.reason
