"""How ends other than failures are settled: what the broker is to write.

Failures and cancellations, after which a task may be retried, are settled by `retry`.
"""

from datetime import timedelta
from typing import Literal

from duly.clock import from_unix_ms, to_ms
from duly.engine.enqueue.flows import Origin, bounded, follow, plan
from duly.engine.middleware.tracing import (
    headers_of_current_span,
    inherited,
    with_attempted,
)
from duly.engine.storage.codec import MESSAGE_LIMIT_BYTES, Message, encode, encode_attempt
from duly.engine.storage.decoding import entry_instant
from duly.engine.storage.scripts import Returned, Settlement, Success, Successor
from duly.engine.worker.attempt import RunningAttempt, headers
from duly.engine.worker.received import Received
from duly.runtime.attemptlog import trace_id_of
from duly.runtime.logs import masked
from duly.task import (
    ATTEMPTED_HEADER,
    RESULT_LIMIT_BYTES,
    Attempt,
    AttemptOutcome,
    Replacement,
)

_NO_KIND = "-"
"""Counts tasks whose kind is not registered here: foreign text is no name for a counter."""
_COUNTED = {
    AttemptOutcome.QUARANTINED: "quarantined",
    AttemptOutcome.EXPIRED: "expired,archived",
    AttemptOutcome.CANCELLED: "processed,cancelled",
}


def requeue(running: RunningAttempt) -> Settlement:
    """Return how to give a task back whose handler asked for that.

    Raises:
        Exception: The handler has written into its context what cannot be kept.
    """
    replacement = replacement_of(running)
    wait_ms = to_ms(replacement.wait) if replacement else 0
    return Settlement(
        stream_id=running.delivery.stream_id,
        id=running.message.task_id,
        kind=running.message.task_name,
        destination="scheduled" if wait_ms else "waiting",
        in_ms=wait_ms,
        tries=running.delivery.tries,
        data=replacement.message if replacement else attempted(running),
    )


def replacement_of(running: RunningAttempt) -> Replacement | None:
    """Return what the task becomes for its next attempt; None: it stays as it is.

    Raises:
        TypeError: The handler has written something else there.
    """
    replacement = running.context.replacement
    if replacement is not None and not isinstance(replacement.message, bytes):
        raise TypeError("the context's replacement is no message")
    return replacement


def give_back(running: RunningAttempt) -> Returned:
    """Return how a task is given back that was launched here: a start has spent its token."""
    changed = running.token != running.delivery.has_token
    return Returned(
        running.delivery.stream_id, running.message.task_id, running.tries if changed else ""
    )


def attempted(running: RunningAttempt) -> bytes:
    """Return the message of a task that is to run again, which names this attempt for its trace.

    Empty: the attempt is not traced, and the message stays as it is.
    """
    message = running.message
    headers = with_attempted(running.context.headers, ATTEMPTED_HEADER)
    if headers is None:
        return b""
    data = encode(
        Message(
            message.task_id,
            message.task_name,
            {**message.labels, "headers": headers},
            message.labels_types,
            message.args,
            message.kwargs,
        )
    )
    return data if len(data) <= MESSAGE_LIMIT_BYTES else b""


def defer(running: RunningAttempt, *, in_ms: int) -> Settlement:
    """Return how to schedule a task again that has not run."""
    return Settlement(
        stream_id=running.delivery.stream_id,
        id=running.message.task_id,
        kind=running.message.task_name,
        destination="scheduled",
        in_ms=in_ms,
        tries=running.tries,
    )


def success(
    running: RunningAttempt, result: bytes, *, now_ms: int, seconds: float, server: str
) -> Settlement:
    """Return how to settle a success that is kept.

    Raises:
        TypeError: The handler has written into its context a partial result that is no JSON.
        ValueError: The result is too large to be kept.
    """
    if type(result) is not bytes:
        raise TypeError("the context's partial result is no JSON: call write_result")
    if len(result) > RESULT_LIMIT_BYTES:
        raise ValueError(f"the result takes {len(result)} bytes, the limit is {RESULT_LIMIT_BYTES}")
    # Nothing of the context: a handler that has written into it has succeeded all the same.
    message, delivery = running.message, running.delivery
    record = Attempt(
        number=delivery.attempts + 1,
        outcome=AttemptOutcome.SUCCEEDED,
        at=from_unix_ms(now_ms),
        started_at=from_unix_ms(now_ms - round(seconds * 1000)),
        waiting_since=entry_instant(delivery.stream_id),
        duration=timedelta(seconds=seconds),
        server=server,
        trace_id=trace_id_of(headers(message) if message.labels else {}),
    )
    return Settlement(
        stream_id=delivery.stream_id,
        id=message.task_id,
        kind=message.task_name,
        destination="completed",
        in_ms=running.retention_ms,
        tries=delivery.tries,
        attempt=encode_attempt(record),
        lock=running.lock,
        result=result,
        outcomes="processed",
    )


def followed(running: RunningAttempt, kept: Settlement | None, *, now_ms: int) -> Success:
    """Return how to settle a success that has successors; `kept`: how without them.

    Raises:
        Exception: The successors cannot be made: as if the handler had raised it.
    """
    context, flow = running.context, running.flow
    traced = headers_of_current_span() or inherited(context.headers)
    task_id = running.message.task_id
    origin = Origin(task_id=task_id, headers=traced, now_ms=now_ms)
    successors: list[Successor] = []
    if flow is not None:
        successors += follow(flow.next, flow.join, origin)
    for place, node in enumerate(context.successors or (), 1):
        successors += follow(plan(node, f"{task_id}.{place}"), None, origin)
    return Success(
        stream_id=running.delivery.stream_id,
        id=running.message.task_id,
        kind=running.message.task_name,
        successors=bounded(successors),
        lock=running.lock,
        retention_ms=kept.in_ms if kept else 0,
        tries=running.delivery.tries,
        result=kept.result if kept else b"",
        attempt=kept.attempt if kept else b"",
    )


def unrun(
    task: Received,
    destination: Literal["archived", "quarantined", "dropped", "retry"],
    outcome: AttemptOutcome,
    reason: str,
    *,
    now_ms: int,
    server: str,
    known: bool = True,
    trace_id: str = "",
) -> Settlement:
    """Return how to settle a task that ends without having run here, with the reason.

    Args:
        task: It.
        destination: Where it goes.
        outcome: For its history.
        reason: Likewise.
        now_ms: The broker's time.
        server: Who settles it.
        known: Whether its kind is registered here.
        trace_id: Of the attempt.
    """
    delivery, message = task.delivery, task.message
    # It is to run again: the token that was kept for it is still there for its start.
    keeps_token = destination == "retry" and delivery.has_token
    record = Attempt(
        number=delivery.attempts + 1,
        outcome=outcome,
        at=from_unix_ms(now_ms),
        server=server,
        error=reason,
        trace_id=trace_id,
    )
    return Settlement(
        stream_id=delivery.stream_id,
        id=task.task_id,
        kind=message.task_name if known and message is not None else _NO_KIND,
        destination=destination,
        tries=delivery.tries_with_token if keeps_token else delivery.tries,
        attempt=encode_attempt(record),
        lock=task.lock,
        outcomes=_COUNTED[outcome],
        reason="" if outcome is AttemptOutcome.CANCELLED else reason,
    )


def record_of(
    running: RunningAttempt,
    outcome: AttemptOutcome,
    *,
    now_ms: int,
    seconds: float,
    server: str,
    error: str,
    traceback: str = "",
) -> Attempt:
    """Return what is remembered of an attempt that ran."""
    return Attempt(
        number=running.delivery.attempts + 1,
        outcome=outcome,
        at=from_unix_ms(now_ms),
        started_at=from_unix_ms(running.context.started_ms),
        waiting_since=entry_instant(running.delivery.stream_id),
        duration=timedelta(seconds=seconds),
        server=server,
        error=masked(error),
        traceback=masked(traceback),
        trace_id=trace_id_of(running.context.headers),
    )
