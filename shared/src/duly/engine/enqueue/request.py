"""A request becomes a task: the options of a call override the policy of its job."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from os import urandom
from typing import Any

import msgspec

from duly.clock import from_unix_ms, to_ms
from duly.engine.enqueue import options
from duly.engine.storage.codec import Message, encode_bounded
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import lock_digest
from duly.errors import (
    DeadlinePassedError,
    DuplicateTaskError,
    EnqueueError,
    InvalidOptionError,
    QueueFullError,
    TaskIdConflictError,
)
from duly.job import Job
from duly.payload import form_of, unwritable
from duly.task import Task, TaskState

QUEUE_FULL = -3
"""What `add` answers where the queue is at its limit."""
_CONFLICT, _NOT_ADDED, _WAITING, _SCHEDULED, _AGGREGATING = -2, 0, 1, 2, 3
_ID_BYTES = 16


class Request(msgspec.Struct, kw_only=True):
    """A job with the options of one call; None leaves an option to the job's policy."""

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
    """After it no attempt begins or continues, and the task is archived."""
    unique_for: timedelta | None = None
    retention: timedelta | None = None
    headers: Mapping[str, str] | None = None
    group: str | None = None
    """It waits for others of its kind and group, to be merged into one task."""


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
    now_ms: int
    """The broker's time when it was prepared."""


def new_ids(count: int) -> list[str]:
    """Return random ids: 32 hexadecimal digits each."""
    digits = urandom(_ID_BYTES * count).hex()
    return [digits[at : at + 2 * _ID_BYTES] for at in range(0, len(digits), 2 * _ID_BYTES)]


def prepare(request: Request, now_ms: int, traced: dict[str, str], *, new_id: str = "") -> Prepared:
    """Turn a request into a task, or refuse it for an option, its payload, size or deadline.

    Args:
        request: What is wanted.
        now_ms: The broker's time.
        traced: Headers of the current trace.
        new_id: The id of a task that was given none; "": one is made.

    Raises:
        EnqueueError: As `Client.enqueue` says.
    """
    job = request.job
    payload = form_of(type(job)).encode(job)
    policy = job.policy
    queue = policy.queue if request.queue is None else options.queue_name(request.queue)
    due_ms = 0 if request.delay is None is request.due else _due_ms(request, now_ms)
    labels: dict[str, Any] = {}
    if traced or _says_more(request):
        labels = _labels(request, due_ms or now_ms, traced)
    lock, ttl_ms = "", 0
    unique = request.unique_for is not None or policy.unique_for
    if unique and (unique_ms := _unique_ms(request)):
        labels["unique_ms"] = unique_ms
        lock = labels["lock"] = lock_digest(job.kind, payload)
        # A lock outlives the wait of a scheduled task by its own time.
        ttl_ms = unique_ms + max(0, due_ms - now_ms)
    if request.task_id is not None:
        new_id = options.identifier("task_id", request.task_id)
    new = NewTask(
        id=new_id or urandom(_ID_BYTES).hex(),
        data=b"",
        due_ms=due_ms,
        lock=lock,
        lock_ttl_ms=ttl_ms,
        group=None if request.group is None else _group(request, labels),
    )
    try:
        new.data = encode_bounded(Message(new.id, job.kind, labels, kwargs=payload))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise unwritable(job.kind, payload) from None
    return Prepared(request, queue, labels, payload, new, now_ms)


def _says_more(request: Request) -> bool:
    """Tell whether a task has labels: most have none."""
    return (
        request.max_attempts is not None
        or request.timeout is not None
        or request.retention is not None
        or request.deadline is not None
        or request.headers is not None
        or request.job.policy.lifetime is not None
    )


def _labels(request: Request, first_ms: int, traced: dict[str, str]) -> dict[str, Any]:
    """Return the labels of a task that may first run at `first_ms`, but those of lock and group."""
    labels: dict[str, Any] = {}
    if request.max_attempts is not None:
        labels["max_attempts"] = options.attempts(request.max_attempts)
    if request.timeout is not None:
        labels["timeout_ms"] = options.duration_ms("timeout", request.timeout, positive=True)
    if request.retention is not None:
        labels["retention_ms"] = options.duration_ms("retention", request.retention)
    if request.deadline is not None or request.job.policy.lifetime is not None:
        labels["deadline_ms"] = _deadline_ms(request, first_ms)
    if traced or request.headers is not None:
        labels["headers"] = {**traced, **options.header_map(request.headers or {})}
    return labels


def _unique_ms(request: Request) -> int:
    """Return for how long others like it are refused, in ms; 0: they are not."""
    if request.unique_for is not None:
        return options.duration_ms("unique_for", request.unique_for)
    unique_for = request.job.policy.unique_for
    return to_ms(unique_for) if unique_for else 0


def _group(request: Request, labels: dict[str, Any]) -> tuple[str, int, int, int]:
    """Return which group it joins, and when that is due; label the task with it."""
    name, terms = options.group_name(request.group), request.job.policy.aggregate
    delay_ms = to_ms(terms.max_delay) if terms.max_delay is not None else 0
    group = f"{request.job.kind}:{name}", to_ms(terms.grace), delay_ms, terms.max_size
    labels["group"] = group
    return group


def _due_ms(request: Request, now_ms: int) -> int:
    """Return when the task is due; 0: now."""
    delay_ms, due_ms = timing_ms(request)
    return now_ms + delay_ms if delay_ms else due_ms


def timing_ms(request: Request) -> tuple[int, int]:
    """Return a request's delay, or when it is due, in ms; 0 for what it does not say.

    Raises:
        InvalidOptionError: It says both, or one that cannot be.
    """
    if request.delay is None:
        return 0, 0 if request.due is None else options.instant_ms("due", request.due)
    if request.due is not None:
        remedy = "leave one of them out"
        raise InvalidOptionError("due", request.due, "is given together with delay", remedy)
    return options.duration_ms("delay", request.delay), 0


def _deadline_ms(request: Request, first_ms: int) -> int:
    """Return the deadline of a task that may first run at `first_ms`.

    Raises:
        DeadlinePassedError: It could only begin after its deadline.
    """
    lifetime = request.job.policy.lifetime
    if request.deadline is not None:
        deadline_ms = options.instant_ms("deadline", request.deadline)
    else:
        deadline_ms = first_ms + to_ms(lifetime or timedelta(0))
    if deadline_ms <= first_ms:
        raise DeadlinePassedError(request.job.kind, from_unix_ms(deadline_ms))
    return deadline_ms


def is_accepted(answer: int | str) -> bool:
    """Tell whether `add` took a task."""
    return isinstance(answer, int) and answer > _NOT_ADDED


def refusal(kind: str, new: NewTask, queue: str, answer: int | str, limit: int) -> EnqueueError:
    """Return why `add` refused a task."""
    if isinstance(answer, str):
        return DuplicateTaskError(kind, queue, answer)
    if answer == _CONFLICT:
        return TaskIdConflictError(new.id, queue)
    if answer == QUEUE_FULL:
        return QueueFullError(queue, limit)
    return EnqueueError(f"{kind} was not added: another task of its batch was refused")


def result(item: Prepared, answer: int | str, limit: int) -> Task | EnqueueError:
    """Return the task that a request became, or why it was refused by a queue with this limit."""
    job, due_at = item.request.job, None
    if answer == _WAITING:
        state = TaskState.WAITING
    elif answer == _SCHEDULED:
        state, due_at = TaskState.SCHEDULED, from_unix_ms(item.new.due_ms)
    elif answer == _AGGREGATING:
        state = TaskState.AGGREGATING
    else:
        return refusal(job.kind, item.new, item.queue, answer, limit)
    labels = item.labels
    return Task(
        id=item.new.id,
        queue=item.queue,
        kind=job.kind,
        state=state,
        payload=item.payload,
        labels=labels,
        max_attempts=labels.get("max_attempts") or job.policy.max_attempts,
        enqueued_at=from_unix_ms(item.now_ms),
        due_at=due_at,
    )
