"""What the labels of a taskiq message ask of the engine, and how they travel with the task.

taskiq writes every label as text, with its type beside it. The engine's own labels travel in the
same map; a label of the application that has the name of one of them travels under another name.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError
from taskiq import TaskiqMessage
from taskiq.decor import AsyncTaskiqDecoratedTask
from taskiq.labels import parse_label

from duly.engine.enqueue import options
from duly.engine.storage.codec import Message
from duly.errors import InvalidOptionError
from duly.job import Policy
from duly.runtime.durations import parse_duration

PREFIX = "duly_"
POLICY = "duly_policy"
"""A `Policy`, in the decorator of a task. It does not travel: workers know their tasks."""
_OURS = (
    "duly_deadline",
    "duly_max_attempts",
    "duly_retention",
    "duly_unique_for",
)
ENGINE = frozenset({
    "deadline_ms", "flow", "group", "headers", "lock", "max_attempts", "origin", "parent",
    "replaced_by", "retention_ms", "timeout_ms", "unique_ms",
})  # fmt: skip
"""Labels that mean something to the engine."""
_ESCAPE = "taskiq:"
_TIMEDELTA = TypeAdapter(timedelta)


class Wish(msgspec.Struct, kw_only=True):
    """What one call asks for; None: nothing, so that the task's policy decides."""

    queue: str | None = None
    delay: timedelta | None = None
    timeout: timedelta | None = None
    max_attempts: int | None = None
    deadline: datetime | None = None
    unique_for: timedelta | None = None
    retention: timedelta | None = None


def wish_of(message: Message, defaults: Mapping[str, Any]) -> Wish:
    """Return what a message asks for.

    Args:
        message: As taskiq encodes it.
        defaults: The labels in the decorator of its task. A `delay` there is what
            `SmartRetryMiddleware` waits before a retry; only one of a call postpones the call.

    Raises:
        InvalidOptionError: A label asks for what no worker could do.
    """
    labels = _typed(message)
    for name in labels:
        if name.startswith(PREFIX) and name not in {*_OURS, POLICY}:
            close = get_close_matches(name, _OURS, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            known = ", ".join(_OURS)
            raise InvalidOptionError(
                f"label {name}", labels[name], "is not known", f"{hint}known: {known}"
            )
    queue, delay, attempts = (
        labels.get(name) for name in ("queue_name", "delay", "duly_max_attempts")
    )
    return Wish(
        queue=options.queue_name(queue) if queue else None,
        delay=None if delay == defaults.get("delay") else _duration("delay", delay),
        timeout=_duration("timeout", labels.get("timeout")),
        max_attempts=None if attempts is None else options.attempts(attempts),
        deadline=_instant("duly_deadline", labels.get("duly_deadline")),
        unique_for=_duration("duly_unique_for", labels.get("duly_unique_for")),
        retention=_duration("duly_retention", labels.get("duly_retention")),
    )


def wish_of_task(task: AsyncTaskiqDecoratedTask[Any, Any]) -> Wish:
    """Return what the decorator of a task asks for. Raises as `wish_of`."""
    labels = {name: it for name, it in task.labels.items() if name != POLICY}
    return wish_of(Message("", task.task_name, labels), labels)


def policy_of(
    task: AsyncTaskiqDecoratedTask[Any, Any] | None, default: Policy | None
) -> Policy | None:
    """Return the policy of a task: its own, else the broker's; None: neither is there."""
    own = task.labels.get(POLICY) if task is not None else None
    return own if isinstance(own, Policy) else default


def delay_of(message: Message) -> timedelta:
    """Return how long a message that is sent once more is to wait. Raises as `wish_of`."""
    return _duration("delay", _typed(message).get("delay")) or timedelta(0)


def packed(message: Message, engine: Mapping[str, Any]) -> Message:
    """Return a message as it travels: with the engine's labels beside the application's."""
    types = message.labels_types
    return msgspec.structs.replace(
        message,
        labels={
            **{_escaped(name): it for name, it in message.labels.items() if name != POLICY},
            **engine,
        },
        labels_types=None
        if types is None
        else {_escaped(name): it for name, it in types.items() if name != POLICY},
    )


def unpacked(message: Message) -> TaskiqMessage:
    """Return a message that has travelled as taskiq knows it, its labels still as text."""
    types = message.labels_types
    return TaskiqMessage(
        task_id=message.task_id,
        task_name=message.task_name,
        labels=own_labels(message.labels),
        labels_types=None if types is None else {_restored(name): it for name, it in types.items()},
        args=message.args,
        kwargs=message.kwargs,
    )


def own_labels(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the application's labels of a message that has travelled, as text."""
    return {_restored(name): it for name, it in labels.items() if name not in ENGINE}


def engine_labels(message: Message) -> dict[str, Any]:
    """Return the engine's labels of a message that has travelled."""
    return {name: it for name, it in message.labels.items() if name in ENGINE}


def _escaped(name: str) -> str:
    return _ESCAPE + name if name in ENGINE or name.startswith(_ESCAPE) else name


def _restored(name: str) -> str:
    return name.removeprefix(_ESCAPE)


def _typed(message: Message) -> dict[str, Any]:
    types = message.labels_types or {}
    typed: dict[str, Any] = {}
    for name, value in message.labels.items():
        try:
            typed[name] = parse_label(value, types.get(name))
        except (ValueError, TypeError) as error:
            problem = f"is not of the type that its message says ({type(error).__name__})"
            raise InvalidOptionError(
                f"label {name}", value, problem, "let taskiq write the labels"
            ) from None
    return typed


def _duration(name: str, value: object) -> timedelta | None:
    """Return a duration: a number of seconds, a timedelta as text, or a text such as `10m`."""
    if value is None:
        return None
    found: object = None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = timedelta(seconds=value)
        else:
            found = parse_duration(value)
        if isinstance(found, str):
            found = _TIMEDELTA.validate_python(found)
    except (ValidationError, OverflowError, ValueError):
        found = None
    if not isinstance(found, timedelta):
        remedy = "pass a number of seconds, a timedelta, or a text such as '10m'"
        raise InvalidOptionError(f"label {name}", value, "is not a duration", remedy)
    options.duration_ms(f"label {name}", found, positive=name == "timeout")
    return found


def _instant(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        remedy = "pass an aware datetime, or its text in ISO 8601"
        raise InvalidOptionError(f"label {name}", value, "is not an instant", remedy) from None
    options.instant_ms(f"label {name}", found)
    return found
