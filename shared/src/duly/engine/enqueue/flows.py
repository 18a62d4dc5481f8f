"""Flows: the rest of one travels as the label `flow` of its tasks; the next tasks are made of it.

A step is a task that has not been enqueued: all but its place in a queue. A join waits, in the
queue of the task that it starts, until each member of a group has reported its success.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from duly.engine.enqueue.request import Request, prepare, timing_ms
from duly.engine.storage.codec import ID_LIMIT, Message, decode, encode_bounded
from duly.engine.storage.scripts import Successor
from duly.errors import MalformedTaskError
from duly.flow import MOST_MEMBERS, Chain, FanOut, Node, Step
from duly.job import NAME_PATTERN

_LONGEST_BASE = 200
_MOST_BYTES = 16 * 1024 * 1024
# With `$` a line break at the end would pass.
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN.removesuffix("$") + r"\Z")]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LIMIT)]
Ms = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Join(msgspec.Struct, array_like=True, frozen=True):
    """Where a member reports that it has succeeded."""

    queue: Name
    id: Id
    member: Annotated[int, msgspec.Meta(ge=0, lt=MOST_MEMBERS)]


class TaskStep(msgspec.Struct, tag="task", omit_defaults=True, frozen=True):
    """A task that is to be enqueued later."""

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


class FanOutStep(msgspec.Struct, tag="group", frozen=True):
    """Members that are to run in parallel; the step after it waits for all of them."""

    id: Id
    members: Annotated[
        "list[Annotated[list[TaskStep | FanOutStep], msgspec.Meta(min_length=1)]]",
        msgspec.Meta(min_length=1, max_length=MOST_MEMBERS),
    ]


class Flow(msgspec.Struct, omit_defaults=True, frozen=True):
    """The rest of a flow, as the label of a task."""

    next: list[TaskStep | FanOutStep] = []
    join: Join | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What successors inherit from the task or client that enqueues them."""

    task_id: str
    """"": a client."""
    headers: Mapping[str, str]
    """Of the trace."""
    now_ms: int
    """When it does; lifetimes begin then."""


def flow_of(labels: Mapping[str, Any]) -> Flow | None:
    """Return the label `flow`, or None when there is none.

    Raises:
        MalformedTaskError: duly did not write it.
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
    """A flow that is steps already, since it was planned in a handler's process."""

    steps: list[TaskStep | FanOutStep]


def encode_steps(plans: list[list[TaskStep | FanOutStep]]) -> bytes:
    """Return plans as JSON."""
    return msgspec.json.encode(plans)


def decode_steps(data: str) -> list[Planned]:
    """Return what `encode_steps` was given."""
    plans = msgspec.json.decode(data, type=list[list[TaskStep | FanOutStep]])
    return [Planned(steps) for steps in plans]


def plan(node: Node | Planned, base: str) -> list[TaskStep | FanOutStep]:
    """Return a flow as steps. Each task gets an id: `base` and its place, unless it has one.

    Raises:
        ValueError: A group follows a group, a member of a group is unique or ends in a group, or
            they are nested too deeply.
        TypeError: An option is not one of `Client.enqueue`.
        EnqueueError: A task of it is refused, as by `Client.enqueue`.
    """
    if isinstance(node, Planned):
        return node.steps
    if len(base) > _LONGEST_BASE:
        base = hashlib.sha256(base.encode()).hexdigest()[:32]
    try:
        steps = list(_steps(node, base))
        _check(steps, within=False)
    except RecursionError:
        raise ValueError("the flow is nested too deeply") from None
    return steps


def follow(
    steps: list[TaskStep | FanOutStep], join: Join | None, origin: Origin
) -> Iterator[Successor]:
    """Yield what is to be written now that the first of the steps may run.

    A join comes before its members, so that none of them can report to a join that is missing.

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
    """Return them all, unless they are too many for one script.

    Raises:
        ValueError: More than a thousand, or more than 16 MiB; says how much it came to.
    """
    found, size = list[Successor](), 0
    for successor in successors:
        found.append(successor)
        size += len(successor.data)
        if len(found) > MOST_MEMBERS + 1:  # one more than members: the join
            raise ValueError(f"more than {MOST_MEMBERS} tasks at once, the limit: split the flow")
        if size > _MOST_BYTES:
            raise ValueError(
                f"the first {len(found)} tasks take {size} bytes at once, the limit is "
                f"{_MOST_BYTES}: store the data elsewhere and pass its key"
            )
    return found


def planned(
    flow: Node, flow_id: str, origin: Origin, *, check: Callable[[str], None]
) -> list[Successor]:
    """Return what is to be written for a flow to begin.

    Args:
        flow: What a client was given.
        flow_id: What its tasks' ids begin with.
        origin: Whom they come from.
        check: Called with the name of each queue.

    Raises:
        ValueError: It is empty, or too much; and what `plan` raises.
        MalformedTaskError: Workers could not read it.
    """
    steps = plan(flow, flow_id)
    for queue in dict.fromkeys(_queues(steps)):
        check(queue)
    first = bounded(follow(steps, None, origin))
    if not first:
        raise ValueError("the flow is empty: give it a job")
    for successor in first:
        if successor.data:
            flow_of(decode(successor.data).labels)  # as whoever runs it will
    return first


def _queues(steps: Iterable[TaskStep | FanOutStep]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, TaskStep):
            yield step.queue
        else:
            for member in step.members:
                yield from _queues(member)


def own_queues(node: Node) -> Iterator[str]:
    """Yield the queues that the policies of a flow's jobs name."""
    if isinstance(node, Chain | FanOut):
        for inner in node.nodes if isinstance(node, Chain) else node.members:
            yield from own_queues(inner)
    else:
        yield (node.job if isinstance(node, Step) else node).policy.queue


def _steps(node: Node, base: str) -> Iterator[TaskStep | FanOutStep]:
    if isinstance(node, Chain):
        for place, inner in enumerate(node.nodes, 1):
            yield from _steps(inner, f"{base}.{place}")
    elif isinstance(node, FanOut):
        members = [list(_steps(inner, f"{base}.{n}")) for n, inner in enumerate(node.members, 1)]
        if members := [member for member in members if member]:
            yield FanOutStep(base, members)
    elif isinstance(node, Step):
        yield _task(Request(job=node.job, **node.options), base)
    else:
        yield _task(Request(job=node), base)


def _task(request: Request, base: str) -> TaskStep:
    task_id = base if request.task_id is None else request.task_id
    delay_ms, due_ms = timing_ms(request)
    # When it is due is counted from when it is enqueued, which is later.
    made = prepare(msgspec.structs.replace(request, task_id=task_id, delay=None, due=None), 0, {})
    lifetime_ms = made.labels.pop("deadline_ms", 0) if request.deadline is None else 0
    return TaskStep(
        id=task_id,
        kind=request.job.kind,
        queue=made.queue,
        payload=made.payload,
        labels=made.labels,
        delay_ms=delay_ms,
        due_ms=due_ms,
        lock=made.new.lock,
        lock_ms=made.new.lock_ttl_ms,
        lifetime_ms=lifetime_ms,
    )


def _check(steps: list[TaskStep | FanOutStep], *, within: bool) -> None:
    """Refuse what could wait forever; `within` a group a join waits for the last step."""
    if any(isinstance(a, FanOutStep) and isinstance(b, FanOutStep) for a, b in pairwise(steps)):
        raise ValueError("a group right after a group: put a job between them")
    if within and steps and isinstance(steps[-1], FanOutStep):
        raise ValueError("a group at the end of a group's member: give it a `then`")
    for step in steps:
        if isinstance(step, FanOutStep):
            for member in step.members:
                _check(member, within=True)
        elif within and step.lock:
            raise ValueError(f"{step.kind} is unique: a member of a group cannot be")


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
    data = encode_bounded(
        Message(task_id=step.id, task_name=step.kind, labels=labels, kwargs=step.payload)
    )
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
