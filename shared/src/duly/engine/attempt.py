"""One attempt: the running of one task from its delivery on; see `settlements` for its end."""

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from duly.engine.broker import Plan
from duly.engine.codec import Message, decode, whole
from duly.engine.delivery import Delivery
from duly.engine.flows import Flow, flow_of
from duly.engine.middleware import Outcome
from duly.errors import MalformedTaskError
from duly.job import Job
from duly.task import TaskContext

_END_OF_TIME_MS = 253_402_300_799_000
"""The last second that a datetime can hold."""


class UnknownKindError(MalformedTaskError):
    """This server has no handler for a task; another one may have."""

    def __init__(self, message: Message) -> None:
        super().__init__("no handler for its kind")
        self.message = message


class Running(msgspec.Struct, eq=False):
    """A task that runs now."""

    delivery: Delivery
    queue: str
    message: Message
    job: Job
    context: TaskContext
    timeout: float
    """Seconds; 0: none."""
    retention_ms: int
    started: float
    """On this machine's monotonic clock."""
    expires_ms: int = 0
    """The deadline of the whole task, on the broker's clock; 0: none."""
    flow: Flow | None = None
    """What is to come after it."""
    task: asyncio.Task[None] | None = None
    interrupted: Outcome | None = None
    """Why it was cancelled, when it was not by its timeout."""
    timed_out: bool = False
    handed_back: bool = False
    """It was cancelled for the drain and ended by that."""
    cancel_as: Literal["archived", "dropped", "retry"] | None = None
    """What an operator wants to become of it."""
    told_at: float | None = None
    """When it was told to stop, on the monotonic clock."""
    stuck: bool = False
    """It was told to stop long ago and goes on all the same."""

    @property
    def lock(self) -> str:
        """Digest of its unique lock, or ""."""
        lock = self.message.labels.get("lock", "")
        return lock if isinstance(lock, str) else ""

    @property
    def ends_with_task(self) -> bool:
        """Whether this attempt is stopped by the deadline of the whole task, not by its timeout."""
        return 0 < self.expires_ms <= self.context.deadline_ms


def start(
    delivery: Delivery, queue: str, plans: Mapping[str, Plan], *, now_ms: int, started: float
) -> tuple[Running, Plan]:
    """Return a delivered task, ready to run, and how to run it.

    Raises:
        UnknownKindError: This server has no handler for its kind.
        MalformedTaskError: It can not be run, for a reason that more attempts would not change.
    """
    if delivery.data is None:
        raise MalformedTaskError("the entry has no field data")
    message = decode(delivery.data)
    plan = plans.get(message.task_name)
    if plan is None:
        raise UnknownKindError(message)
    job = plan.read(message)
    attempts, timeout_ms, retention_ms = plan.max_attempts, plan.timeout_ms, plan.retention_ms
    given: dict[str, str] = {}
    expires_ms = 0
    flow: Flow | None = None
    if labels := message.labels:
        attempts = max(1, whole(labels, "max_attempts", attempts))
        timeout_ms = whole(labels, "timeout_ms", timeout_ms)
        retention_ms = whole(labels, "retention_ms", retention_ms)
        expires_ms = min(whole(labels, "deadline_ms", 0), _END_OF_TIME_MS)
        given = headers(message)
        flow = flow_of(labels)
    if expires_ms and (not timeout_ms or now_ms + timeout_ms > expires_ms):
        timeout_ms = max(1, expires_ms - now_ms)
    context = TaskContext(
        id=message.task_id,
        queue=queue,
        kind=message.task_name,
        attempt=delivery.attempts + 1,
        max_attempts=attempts,
        crashes=delivery.crashes,
        waiting_since_ms=int(delivery.entry.partition(b"-")[0]),
        started_ms=now_ms,
        deadline_ms=now_ms + timeout_ms if timeout_ms else 0,
        headers=given,
    )
    running = Running(
        delivery,
        queue,
        message,
        job,
        context,
        timeout_ms / 1000,
        retention_ms,
        started,
        expires_ms,
        flow,
    )
    return running, plan


def begin_anew(running: Running, *, now_ms: int, started: float) -> None:
    """Count the attempt's time from now: it had to wait for its kind's limit."""
    context = running.context
    if context.deadline_ms and not running.ends_with_task:
        context.deadline_ms += now_ms - context.started_ms
    context.started_ms, running.started = now_ms, started


def task_id_of(delivery: Delivery) -> str:
    """Return the id in a delivered message, or "" when it has none."""
    try:
        return decode(delivery.data or b"").task_id
    except MalformedTaskError:
        return ""


def headers(message: Message) -> dict[str, str]:
    """Return the task's headers.

    Raises:
        MalformedTaskError: They are not a map of strings.
    """
    found = message.labels.get("headers") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise MalformedTaskError("label headers is not a map of strings")
    return found
