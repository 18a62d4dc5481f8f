"""One attempt: the running of one task from its delivery on; see `outcomes` for its end."""

import asyncio
from typing import Literal

import msgspec

from duly.clock import LAST_MS
from duly.engine.enqueue.flows import Flow, flow_of
from duly.engine.middleware import Outcome
from duly.engine.storage.codec import Message, lock_of, whole
from duly.engine.storage.delivery import Delivery
from duly.engine.worker.received import Received
from duly.engine.worker.taskiq_broker import HandlerSpec
from duly.errors import MalformedTaskError, describe
from duly.job import Job
from duly.task import TaskContext

CancelAs = Literal["archived", "dropped", "retry"]
"""What an operator wants to become of a task that is cancelled."""
_CANCEL_AS: dict[str | None, CancelAs] = {
    "archived": "archived",
    "dropped": "dropped",
    "retry": "retry",
}


def cancel_as(outcome: str | None) -> CancelAs | None:
    """Return what is to become of a cancelled task; None: nothing that this server knows."""
    return _CANCEL_AS.get(outcome)


class RunningAttempt(msgspec.Struct, eq=False):
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
    """What comes after it."""
    task: asyncio.Task[None] | None = None
    interrupted: Outcome | None = None
    """Why it was cancelled, where the reason was not its timeout."""
    timed_out: bool = False
    requeued: bool = False
    """It was cancelled for the drain and ended by that."""
    token: bool = False
    """It holds a token of its kind's rate that no start has spent."""
    cancel_as: CancelAs | None = None
    """What an operator wants to become of it."""
    cancelled_at: float | None = None
    """When it was first cancelled, on the monotonic clock."""
    stuck: bool = False
    """It was cancelled long ago and still runs."""

    @property
    def lock(self) -> str:
        """Digest of its unique lock, or ""."""
        return lock_of(self.message)

    @property
    def tries(self) -> str:
        """Its counts, as they are kept when it is given back: with the token, if it holds one."""
        return self.delivery.tries_with_token if self.token else self.delivery.tries

    @property
    def ends_with_task(self) -> bool:
        """Whether the deadline of the whole task stops this attempt, rather than its timeout."""
        return 0 < self.expires_ms <= self.context.deadline_ms


def start(
    received: Received, message: Message, spec: HandlerSpec, *, now_ms: int, started: float
) -> RunningAttempt:
    """Return a task that was read, ready to run.

    Args:
        received: The task.
        message: Its message, which `spec` has a handler for.
        spec: How to run it.
        now_ms: The broker's time.
        started: This machine's monotonic time.

    Raises:
        MalformedTaskError: It cannot be run, for a reason that more attempts would not change.
    """
    job = _payload(spec, message)
    delivery = received.delivery
    attempts, timeout_ms, retention_ms = spec.max_attempts, spec.timeout_ms, spec.retention_ms
    given: dict[str, str] = {}
    expires_ms = 0
    flow: Flow | None = None
    if labels := message.labels:
        attempts = max(1, whole(labels, "max_attempts", attempts))
        timeout_ms = whole(labels, "timeout_ms", timeout_ms)
        retention_ms = whole(labels, "retention_ms", retention_ms)
        expires_ms = min(whole(labels, "deadline_ms", 0), LAST_MS)
        given = headers(message)
        flow = flow_of(labels)
    if expires_ms and (not timeout_ms or now_ms + timeout_ms > expires_ms):
        timeout_ms = max(1, expires_ms - now_ms)
    context = TaskContext(
        id=message.task_id,
        queue=received.queue,
        kind=message.task_name,
        attempt=delivery.attempts + 1,
        max_attempts=attempts,
        crashes=delivery.crashes,
        waiting_since_ms=int(delivery.stream_id.partition(b"-")[0]),
        started_ms=now_ms,
        deadline_ms=now_ms + timeout_ms if timeout_ms else 0,
        headers=given,
    )
    return RunningAttempt(
        delivery,
        received.queue,
        message,
        job,
        context,
        timeout_ms / 1000,
        retention_ms,
        started,
        expires_ms,
        flow,
        token=delivery.has_token,
    )


def _payload(spec: HandlerSpec, message: Message) -> Job:
    """Return the typed payload; whatever its validators raise makes the task malformed."""
    try:
        return spec.read(message)
    except MalformedTaskError:
        raise
    except BaseException as error:  # noqa: BLE001 - validators are foreign code
        # The class only: the message of a validator may quote the payload.
        name = describe(error).partition(":")[0]
        raise MalformedTaskError(f"its payload's validation raised {name}") from None


def begin_anew(running: RunningAttempt, *, now_ms: int, started: float) -> None:
    """Count the attempt's time from now: it had to wait for the limit of its kind."""
    context = running.context
    if context.deadline_ms and not running.ends_with_task:
        context.deadline_ms += now_ms - context.started_ms
    context.started_ms, running.started = now_ms, started


def restore_context(running: RunningAttempt, *, started_ms: int) -> None:
    """Make an attempt's context again what it was, where the handler has written into it.

    The same object: middlewares know by it which attempt has ended.

    Args:
        running: The attempt.
        started_ms: When it began, on the broker's clock.
    """
    message, delivery = running.message, running.delivery
    attempts = running.job.policy.max_attempts
    made = TaskContext(
        id=message.task_id,
        queue=running.queue,
        kind=message.task_name,
        attempt=delivery.attempts + 1,
        max_attempts=max(1, whole(message.labels, "max_attempts", attempts)),
        crashes=delivery.crashes,
        waiting_since_ms=int(delivery.stream_id.partition(b"-")[0]),
        started_ms=started_ms,
        headers=headers(message) if message.labels else {},
        cancelled=running.cancelled_at is not None,
        timed_out=running.timed_out,
    )
    for name in TaskContext.__struct_fields__:
        setattr(running.context, name, getattr(made, name))


def headers(message: Message) -> dict[str, str]:
    """Return the task's headers.

    Raises:
        MalformedTaskError: They are not a map of strings.
    """
    found = message.labels.get("headers") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise MalformedTaskError("label headers is not a map of strings")
    return found
