"""Flows: what is left of one travels as the label `flow` of its tasks; what is next is made of it.

A step is a task that is not yet: everything of it but its place. A join waits, in the queue of
the task that it starts, until each member of a group has reported its success.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from duly.clock import to_ms, to_unix_ms
from duly.engine.codec import ID_LIMIT, PAYLOAD_LIMIT_BYTES, Message, encode
from duly.engine.keys import queue_keys
from duly.engine.requests import Request, prepare
from duly.engine.scripts import Successor
from duly.errors import MalformedTaskError, PayloadTooLargeError
from duly.flow import MOST_MEMBERS, Chain, Group, Node, Step
from duly.job import NAME_PATTERN

_LONGEST_BASE = 200
_MOST_BYTES = 16 * 1024 * 1024
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LIMIT)]
Ms = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Join(msgspec.Struct, array_like=True, frozen=True):
    """Where a member reports that it has succeeded."""

    queue: Name
    id: Id
    member: Annotated[int, msgspec.Meta(ge=0, lt=MOST_MEMBERS)]


class TaskStep(msgspec.Struct, tag="task", omit_defaults=True, frozen=True):
    """A task that is to be."""

    id: Id
    kind: Name
    queue: Name
    payload: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    delay_ms: Ms = 0
    due_ms: Ms = 0
    lock: str = ""
    lock_ms: Ms = 0
    lifetime_ms: Ms = 0


class GroupStep(msgspec.Struct, tag="group", frozen=True):
    """Members that are to run side by side; the step after it waits for all of them."""

    id: Id
    members: Annotated[
        "list[Annotated[list[TaskStep | GroupStep], msgspec.Meta(min_length=1)]]",
        msgspec.Meta(min_length=1, max_length=MOST_MEMBERS),
    ]


class Flow(msgspec.Struct, omit_defaults=True, frozen=True):
    """What is left of a flow, as the label of a task."""

    next: list[TaskStep | GroupStep] = []
    join: Join | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What successors take over from whoever brings them about."""

    task_id: str
    """"": a client."""
    headers: Mapping[str, str]
    """Of the trace."""
    now_ms: int
    """When it does; lifetimes begin then."""


def flow_of(labels: Mapping[str, Any]) -> Flow | None:
    """Return the label `flow`, or None when there is none.

    Raises:
        MalformedTaskError: It is none of ours.
    """
    found = labels.get("flow")
    if found is None:
        return None
    try:
        flow = msgspec.convert(found, Flow)
        _check(flow.next, within=flow.join is not None)
    except (msgspec.ValidationError, ValueError, RecursionError):
        raise MalformedTaskError("label flow is not a flow") from None
    return flow


@dataclass(frozen=True, slots=True)
class Planned:
    """A flow as steps already: it was planned in a handler's process."""

    steps: list[TaskStep | GroupStep]


def encode_steps(plans: list[list[TaskStep | GroupStep]]) -> bytes:
    """Return plans as JSON."""
    return msgspec.json.encode(plans)


def decode_steps(data: str) -> list[Planned]:
    """Return what `encode_steps` was given."""
    plans = msgspec.json.decode(data, type=list[list[TaskStep | GroupStep]])
    return [Planned(steps) for steps in plans]


def plan(node: Node | Planned, base: str) -> list[TaskStep | GroupStep]:
    """Return a flow as steps. Each task gets an id: `base` and its place, unless it has one.

    Raises:
        ValueError: A group follows a group, or a member of a group is unique or ends in a group.
        TypeError: An option is not one of `Client.enqueue`.
        ConfigError: A queue can not have that name.
        PayloadTooLargeError: A task of it is too large.
    """
    if isinstance(node, Planned):
        return node.steps
    if len(base) > _LONGEST_BASE:
        base = hashlib.sha256(base.encode()).hexdigest()[:32]
    steps = list(_steps(node, base))
    _check(steps, within=False)
    return steps


def follow(
    steps: list[TaskStep | GroupStep], join: Join | None, origin: Origin
) -> Iterator[Successor]:
    """Give what is to be written now that the first of the steps may run.

    A join comes before its members, so that none of them can report to one that is not there.

    Raises:
        PayloadTooLargeError: A task with all that follows it is too large.
    """
    if not steps:
        if join is not None:
            yield Successor("arrive", join.queue, join=join.id, number=join.member)
        return
    first, rest = steps[0], steps[1:]
    if isinstance(first, TaskStep):
        yield _successor("task", first, Flow(rest, join), origin)
        return
    inner: Join | None = None
    if rest and isinstance(rest[0], TaskStep):
        last = _successor("join", rest[0], Flow(rest[1:], join), origin)
        yield replace(last, join=first.id, number=len(first.members))
        inner = Join(rest[0].queue, first.id, 0)
    for number, member in enumerate(first.members):
        at = None if inner is None else msgspec.structs.replace(inner, member=number)
        yield from follow(member, at, origin)


def bounded(successors: Iterable[Successor]) -> list[Successor]:
    """Return them all, unless they are too many for one step.

    Raises:
        ValueError: More than a thousand, or more than 16 MiB.
    """
    found, size = list[Successor](), 0
    for successor in successors:
        found.append(successor)
        size += len(successor.data)
        # One more than members: the join.
        if len(found) > MOST_MEMBERS + 1 or size > _MOST_BYTES:
            raise ValueError(f"more than {MOST_MEMBERS} tasks or {_MOST_BYTES} bytes at once")
    return found


def _steps(node: Node, base: str) -> Iterator[TaskStep | GroupStep]:
    if isinstance(node, Chain):
        for place, inner in enumerate(node.nodes, 1):
            yield from _steps(inner, f"{base}.{place}")
    elif isinstance(node, Group):
        members = [list(_steps(inner, f"{base}.{n}")) for n, inner in enumerate(node.members, 1)]
        if members := [member for member in members if member]:
            yield GroupStep(base, members)
    elif isinstance(node, Step):
        yield _task(Request(job=node.job, **node.options), base)
    else:
        yield _task(Request(job=node), base)


def _task(request: Request, base: str) -> TaskStep:
    task_id = request.task_id or base
    # When it is due is counted from when it is enqueued, which is later.
    made = prepare(msgspec.structs.replace(request, task_id=task_id, delay=None, due=None), 0, {})
    lifetime_ms = made.labels.pop("deadline_ms", 0) if request.deadline is None else 0
    return TaskStep(
        id=task_id,
        kind=request.job.kind,
        queue=queue_keys(made.queue).name,
        payload=made.payload,
        labels=made.labels,
        delay_ms=to_ms(request.delay) if request.delay else 0,
        due_ms=to_unix_ms(request.due) if request.due else 0,
        lock=made.new.lock,
        lock_ms=made.new.lock_ttl_ms,
        lifetime_ms=lifetime_ms,
    )


def _check(steps: list[TaskStep | GroupStep], *, within: bool) -> None:
    """Refuse what could wait for ever; `within` a group somebody waits for the last step."""
    if any(isinstance(a, GroupStep) and isinstance(b, GroupStep) for a, b in pairwise(steps)):
        raise ValueError("a group right after a group: put a job between them")
    if within and steps and isinstance(steps[-1], GroupStep):
        raise ValueError("a group at the end of a group's member: give it a `then`")
    for step in steps:
        if isinstance(step, GroupStep):
            for member in step.members:
                _check(member, within=True)
        elif within and step.lock:
            raise ValueError(f"{step.kind} is unique: a member of a group can not be")


def _successor(what: str, step: TaskStep, flow: Flow, origin: Origin) -> Successor:
    labels = dict(step.labels)
    if origin.task_id:
        labels["parent"] = origin.task_id
    if step.lifetime_ms:
        first_ms = origin.now_ms + step.delay_ms if step.delay_ms else step.due_ms
        labels["deadline_ms"] = max(first_ms, origin.now_ms) + step.lifetime_ms
    if headers := {**origin.headers, **(step.labels.get("headers") or {})}:
        labels["headers"] = headers
    if flow.next or flow.join is not None:
        labels["flow"] = flow
    data = encode(Message(task_id=step.id, task_name=step.kind, labels=labels, kwargs=step.payload))
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise PayloadTooLargeError(step.kind, len(data), PAYLOAD_LIMIT_BYTES)
    return Successor(
        what,
        step.queue,
        step.kind,
        id=step.id,
        data=data,
        due_ms=step.due_ms,
        delay_ms=step.delay_ms,
        lock=step.lock,
        lock_ms=step.lock_ms,
    )
