"""Flows: jobs one after the other, jobs in parallel, and one when the last of them has succeeded.

>>> chain(FetchOrders(), group([SendInvoice(order_id=1), SendInvoice(order_id=2)]), Report())
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from duly.job import Job

MOST_MEMBERS = 1_000
"""Most tasks that one success may enqueue, and most members of a group."""


@dataclass(frozen=True, slots=True)
class Step:
    """A job with options, as of `Client.enqueue`."""

    job: Job
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FanOut:
    """Nodes that run in parallel. Made by `group`."""

    members: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Chain:
    """Nodes that run one after the other, each after the success of the last. Made by `chain`."""

    nodes: "tuple[Node, ...]"


Node = Job | Step | FanOut | Chain


def step(job: Job, **options: Any) -> Step:  # noqa: ANN401 - `Client.enqueue` names them
    """Return a job with options, such as `queue` and `delay` (counted from when it is enqueued)."""
    return Step(job, options)


def chain(*nodes: Node) -> Chain:
    """Return a flow that runs its nodes one after the other."""
    return Chain(nodes)


def group(members: Iterable[Node], then: Node | None = None) -> Chain:
    """Return a flow that runs its members in parallel, and `then` once all have succeeded.

    Raises:
        ValueError: More than a thousand members.
    """
    found = tuple(members)
    if len(found) > MOST_MEMBERS:
        raise ValueError(f"a group of {len(found)} members: the limit is {MOST_MEMBERS}")
    return Chain((FanOut(found), *(() if then is None else (then,))))
