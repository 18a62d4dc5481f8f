"""A request becomes a task: its options over its job's policy, its bytes, what came of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from os import urandom
from typing import Any

import msgspec

from duly.clock import from_unix_ms, to_ms, to_unix_ms
from duly.engine.codec import PAYLOAD_LIMIT_BYTES, Message, encode
from duly.engine.scripts import NewTask
from duly.engine.store import lock_digest
from duly.errors import (
    DeadlinePassedError,
    DuplicateTaskError,
    EnqueueError,
    PayloadTooLargeError,
    QueueFullError,
    TaskIdConflictError,
)
from duly.job import Job
from duly.task import Task, TaskState

_CONFLICT, _FULL, _LEFT_OUT, _WAITING, _SCHEDULED, _AGGREGATING = -2, -3, 0, 1, 2, 3
_LONGEST_GROUP = 128
_ID_BYTES = 16


class Request(msgspec.Struct, kw_only=True):
    """A job with what a single call may say about it; None leaves it to the job's policy."""

    job: Job
    queue: str | None = None
    task_id: str | None = None
    """Chosen by the caller; another task with the same id is refused."""
    delay: timedelta | None = None
    due: datetime | None = None
    max_attempts: int | None = None
    timeout: timedelta | None = None
    """How long one attempt may run."""
    deadline: datetime | None = None
    """After it no attempt begins or goes on, and the task is archived."""
    unique_for: timedelta | None = None
    retention: timedelta | None = None
    headers: Mapping[str, str] | None = None
    group: str | None = None
    """It waits for others of its kind and this group, to be merged into one task."""


def accepted(task: NewTask) -> int:
    """Return what `add` answers for a task that it takes."""
    if task.due_ms:
        return _SCHEDULED
    return _WAITING if task.group is None else _AGGREGATING


class Prepared(msgspec.Struct, eq=False):
    """A request as the task that `add` is to be given."""

    request: Request
    queue: str
    labels: dict[str, Any]
    payload: dict[str, Any]
    new: NewTask


def new_ids(count: int) -> list[str]:
    """Return random ids: 32 hexadecimal digits each."""
    digits = urandom(_ID_BYTES * count).hex()
    return [digits[at : at + 2 * _ID_BYTES] for at in range(0, len(digits), 2 * _ID_BYTES)]


def prepare(request: Request, now_ms: int, traced: dict[str, str], *, new_id: str = "") -> Prepared:
    """Turn a request into a task, or refuse it for its size or its deadline.

    Args:
        request: What is wanted.
        now_ms: The broker's time.
        traced: Headers of the current trace.
        new_id: The id of a task that was given none; "": one is made.
    """
    job, policy = request.job, request.job.policy
    queue = request.queue or policy.queue
    # What `model_dump` calls once it has looked at options that are not given here.
    payload: dict[str, Any] = job.__pydantic_serializer__.to_python(job, mode="json")
    due_ms = _due_ms(request, now_ms) if request.delay or request.due else 0
    labels: dict[str, Any] = {}
    group = _group(request, labels) if request.group is not None else None
    if request.max_attempts is not None:
        labels["max_attempts"] = request.max_attempts
    if request.timeout is not None:
        labels["timeout_ms"] = to_ms(request.timeout)
    if request.retention is not None:
        labels["retention_ms"] = to_ms(request.retention)
    if request.deadline is not None or policy.lifetime is not None:
        labels["deadline_ms"] = _deadline_ms(request, due_ms or now_ms)
    if traced or request.headers:
        labels["headers"] = {**traced, **(request.headers or {})}
    unique_for = request.unique_for if request.unique_for is not None else policy.unique_for
    lock, ttl_ms = "", 0
    if unique_for:
        lock = labels["lock"] = lock_digest(job.kind, msgspec.json.encode(payload, order="sorted"))
        # A lock outlives the wait of a scheduled task by its own time.
        ttl_ms = to_ms(unique_for) + max(0, due_ms - now_ms)
    task_id = request.task_id or new_id or urandom(_ID_BYTES).hex()
    data = encode(Message(task_id=task_id, task_name=job.kind, labels=labels, kwargs=payload))
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise PayloadTooLargeError(job.kind, len(data), PAYLOAD_LIMIT_BYTES)
    new = NewTask(id=task_id, data=data, due_ms=due_ms, lock=lock, lock_ttl_ms=ttl_ms, group=group)
    return Prepared(request, queue, labels, payload, new)


def _group(request: Request, labels: dict[str, Any]) -> tuple[str, int, int, int]:
    """Return which group it joins, and when that is due; label the task with it."""
    name, terms = request.group or "", request.job.policy.aggregate
    if not 0 < len(name) <= _LONGEST_GROUP or not name.isprintable():
        raise ValueError(f"group: must have 1 to {_LONGEST_GROUP} printable characters")
    delay_ms = to_ms(terms.max_delay) if terms.max_delay is not None else 0
    group = f"{request.job.kind}:{name}", to_ms(terms.grace), delay_ms, terms.max_size
    labels["group"] = group
    return group


def _due_ms(request: Request, now_ms: int) -> int:
    """Return when the task is due; 0: now."""
    if request.delay:
        delay_ms = to_ms(request.delay)
        if delay_ms > 0:
            return now_ms + delay_ms
    return to_unix_ms(request.due) if request.due else 0


def _deadline_ms(request: Request, first_ms: int) -> int:
    """Return the deadline of a task that may first run at `first_ms`.

    Raises:
        DeadlinePassedError: It could only begin after its deadline.
    """
    lifetime = request.job.policy.lifetime
    if request.deadline is not None:
        deadline_ms = to_unix_ms(request.deadline)
    else:
        deadline_ms = first_ms + to_ms(lifetime or timedelta(0))
    if deadline_ms <= first_ms:
        raise DeadlinePassedError(request.job.kind, from_unix_ms(deadline_ms))
    return deadline_ms


def refusal(
    kind: str, new: NewTask, queue: str, answer: int | str, limit: int
) -> EnqueueError | None:
    """Return why `add` refused a task; None when it did not."""
    if isinstance(answer, str):
        return DuplicateTaskError(kind, queue, answer)
    if answer == _CONFLICT:
        return TaskIdConflictError(new.id, queue)
    if answer == _FULL:
        return QueueFullError(queue, limit)
    if answer == _LEFT_OUT:
        return EnqueueError(f"{kind} was left out: another of its batch was refused")
    return None


def result(item: Prepared, answer: int | str, now: datetime, limit: int) -> Task | EnqueueError:
    """Return the task that a request became at `now`, or why it was refused."""
    job = item.request.job
    if refused := refusal(job.kind, item.new, item.queue, answer, limit):
        return refused
    scheduled = answer == _SCHEDULED
    now_in = TaskState.AGGREGATING if answer == _AGGREGATING else TaskState.WAITING
    return Task(
        id=item.new.id,
        queue=item.queue,
        kind=job.kind,
        state=TaskState.SCHEDULED if scheduled else now_in,
        payload=item.payload,
        labels=item.labels,
        max_attempts=item.labels.get("max_attempts", job.policy.max_attempts),
        enqueued_at=now,
        due_at=from_unix_ms(item.new.due_ms) if scheduled else None,
    )
