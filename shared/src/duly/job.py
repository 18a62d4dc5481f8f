"""A job: a typed payload with a stable kind, and the policy by which its tasks are run."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

NAME_PATTERN = r"^[a-z0-9_.-]{1,64}$"
"""What queues, kinds and schedule entries may be called. For text of Python use `is_name`: there
`$` also matches before a line break at the end."""
_is_name = re.compile(NAME_PATTERN.strip("^$")).fullmatch
LONGEST_DURATION = timedelta(days=36_500)
"""Of any option or policy: a hundred years."""
MOST_ATTEMPTS = 1_000

_Duration = Annotated[timedelta, Field(ge=timedelta(0), le=LONGEST_DURATION)]
_Positive = Annotated[timedelta, Field(ge=timedelta(milliseconds=1), le=LONGEST_DURATION)]

Backoff = Callable[[int, BaseException], timedelta]
"""Says how long to wait after the n-th failed attempt, given its error."""


@dataclass(frozen=True)
class Rate:
    """How often tasks of a kind may begin, across all workers of the queue."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """Attempts that may begin within `per`, in the long run."""
    per: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=1)
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How many may begin at once after a quiet time; with 1 they are evenly spaced."""


class Aggregate(BaseModel):
    """When a group of tasks is merged into one: at whichever comes first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace: _Duration = timedelta(minutes=1)
    """Counted from its newest member."""
    max_delay: _Duration | None = None
    """Counted from its oldest member."""
    max_size: int = Field(default=1_000, ge=1, le=1_000)
    """Members; more than a thousand are merged by the thousand."""


class Policy(BaseModel):
    """How the tasks of one kind of job are run, unless a call says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str = Field(default="default", pattern=NAME_PATTERN)
    max_attempts: int = Field(default=12, ge=1, le=MOST_ATTEMPTS)
    """Runs in all, the first one included; then the task is archived."""
    timeout: _Positive = timedelta(minutes=30)
    """How long one attempt may run before it is cancelled and counts as failed."""
    lifetime: _Positive | None = None
    """How long a task may take in all, from when it may first run. After that no attempt begins or
    continues: it is archived."""
    backoff: Literal["full_jitter", "constant", "asynq"] | Backoff = "full_jitter"
    """How long a failed task waits: a formula, or a function of the attempt's number (1 for the
    first) and its error, never more than the cap."""
    backoff_base: _Duration = timedelta(seconds=2)
    backoff_cap: _Duration = timedelta(minutes=15)
    is_failure: Callable[[BaseException], bool] | None = None
    """Asked with an attempt's error; when it says no, the task is retried without the attempt
    being counted, at most `max_uncounted_failures` times."""
    max_uncounted_failures: int = Field(default=100, ge=0, le=10_000)
    max_running: int | None = Field(default=None, ge=1, le=1_000)
    """How many tasks of the kind run at once, across all workers of the queue; the others hold no
    slot while they wait. None: as many as there are slots."""
    rate: Rate | None = None
    """How often an attempt may begin; a task beyond it is scheduled for when its turn has come."""
    unique_for: _Duration | None = None
    """Reject duplicates (same kind, same payload) for this long, or until this task ends."""
    retention: _Duration = timedelta(0)
    """How long a task that succeeded is kept with its result."""
    aggregate: Aggregate = Aggregate()
    """When tasks that are enqueued with a group are merged."""


def is_name(text: str) -> bool:
    """Tell whether a queue, a kind or a schedule entry may have this name."""
    return _is_name(text) is not None


class Job(BaseModel):
    """The base of every payload. A subclass names its `kind` and, if it must, its `policy`.

    Its fields reach the handler as they are, or the call that enqueues it refuses it; private
    attributes, computed fields and cached properties are no part of a payload.

    >>> class SendInvoice(Job, kind="send_invoice", policy=Policy(queue="low")):
    ...     order_id: int
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str] = ""
    policy: ClassVar[Policy] = Policy()

    @classmethod
    @override
    def __pydantic_init_subclass__(
        cls, *, kind: str = "", policy: Policy | None = None, **kwargs: object
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not is_name(kind):
            message = f"{cls.__name__}: kind {kind!r} must match {NAME_PATTERN}"
            raise TypeError(message)
        cls.kind = kind
        if policy is not None:
            cls.policy = policy

    @override
    def __init_subclass__(cls, *, kind: str = "", policy: Policy | None = None) -> None:
        """Accept the class arguments; pydantic hands them to the hook above."""
