"""The tree of errors: every failure that duly reports, each with the facts that explain it.

DulyError
├── ConfigError              a setting is missing, unknown or invalid; nothing was started
├── BrokerError
│   ├── BrokerDownError      Redis or Valkey did not answer in time
│   ├── BrokerWriteError     it answers, but refuses writes: memory, disk or replicas
│   └── BrokerPolicyError    the server is configured so that it would lose data
├── EnqueueError
│   ├── DuplicateTaskError   a unique task of this kind and payload is already enqueued
│   ├── TaskIdConflictError  a task with this id exists, in any state
│   ├── QueueFullError       the queue has reached its limit of tasks
│   ├── PayloadTooLargeError the encoded task exceeds the limit of a queue
│   └── DeadlinePassedError  the task could not start before its deadline
├── NotFoundError            there is no such queue, task, entry or server
├── IllegalTransitionError   the state of the task does not allow this operation
├── MalformedTaskError       bytes in a stream are not a valid task; they are quarantined
├── ProcessDiedError         the process that ran a handler ended before the handler
├── SubtaskExitError         an asyncio task of a handler wanted to end the process
├── UnknownKindError         no worker or scheduler has published this kind
└── OutcomeSignal            raised by a handler to choose the outcome of its task
    ├── Retry                run the task again after a given time
    ├── Skip                 archive the task without a retry
    ├── Requeue              return the task to its queue; the attempt does not count
    └── Revoke               drop the task: neither retried nor archived
"""

import signal
from datetime import datetime, timedelta
from difflib import get_close_matches

from duly.encodable import encodable

_LONGEST_SHOWN = 80
_LONGEST_ADDRESS = 320
_MOST_NAMED = 20


class DulyError(Exception):
    """The root of the tree: catch it to catch every error that duly raises deliberately."""


class ConfigError(DulyError):
    """A setting is missing, unknown or invalid.

    Args:
        path: The dotted key of the setting.
        problem: What is wrong with its value.
        remedy: What to do about it.
        source: The file or the environment variable that the value came from.
        others: Further errors that were found in the same run; each becomes a line of the message.
    """

    def __init__(
        self,
        path: str,
        problem: str,
        *,
        remedy: str = "",
        source: str = "",
        others: "tuple[ConfigError, ...]" = (),
    ) -> None:
        self.path, self.problem, self.remedy = path, problem, remedy
        self.source, self.others = source, others
        where = ": ".join(part for part in (source, path) if part)
        line = f"{where}: {problem}" + (f" ({remedy})" if remedy else "")
        super().__init__("\n".join([line, *map(str, others)]))


class BrokerError(DulyError):
    """Redis or Valkey failed, or refused a command."""


class BrokerDownError(BrokerError):
    """The broker did not answer in time. The call may be repeated with the same task id.

    Args:
        address: Where it is.
        cause: What went wrong.
        timed_out: No reply came, so that the call may have had its effect.
        answered: The broker is reachable, but cannot serve the call yet; nothing was stored.
    """

    def __init__(
        self,
        address: str,
        cause: object = "no answer",
        *,
        timed_out: bool = False,
        answered: bool = False,
    ) -> None:
        self.address, self.cause, self.timed_out = address, cause, timed_out
        self.answered = answered
        problem = "is not ready" if answered else "cannot be reached"
        super().__init__(f"the broker at {address} {problem}: {cause}")


class BrokerWriteError(BrokerError):
    """The broker refuses writes: it is out of memory or disk space, or has too few replicas.

    Nothing was stored; the call may be repeated.
    """

    def __init__(self, address: str, cause: object) -> None:
        self.address, self.cause = address, cause
        super().__init__(f"the broker at {address} refuses writes: {cause}")


class BrokerPolicyError(BrokerError):
    """The broker is configured so that it would lose tasks."""


class EnqueueError(DulyError):
    """A task was refused and nothing was stored."""


class DuplicateTaskError(EnqueueError):
    """A unique task with the same kind and payload exists: `task_id` holds its lock."""

    def __init__(self, kind: str, queue: str, task_id: str) -> None:
        self.kind, self.queue, self.task_id = kind, queue, task_id
        super().__init__(f"{kind} is unique, and task {task_id} in queue {queue} holds its lock")


class TaskIdConflictError(EnqueueError):
    """The id belongs to an existing task, in any state."""

    def __init__(self, task_id: str, queue: str) -> None:
        self.task_id, self.queue = task_id, queue
        super().__init__(f"queue {queue} already holds a task with the id {task_id}")


class QueueFullError(EnqueueError):
    """The queue holds `limit` tasks, waiting and active ones together."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"queue {queue} is full: it has reached its limit of {limit} tasks")


class InvalidPayloadError(EnqueueError):
    """A `field` of a payload would not reach the handler as it is.

    Args:
        kind: The job's.
        field: Its path, such as `items.0.price`; "": the payload as a whole.
        problem: What is wrong; never quotes a value.
    """

    def __init__(self, kind: str, field: str, problem: str) -> None:
        self.kind, self.field, self.problem = kind, field, problem
        where = f"field {field!r} " if field else ""
        super().__init__(
            f"payload of {kind}: {where}{problem}: "
            "use a type that JSON carries unchanged, or pass a key to the value instead"
        )


class InvalidOptionError(EnqueueError, ValueError):
    """An `option` of a call that enqueues is wrong.

    Args:
        option: Its name.
        value: What was given; shortened in the message.
        problem: What is wrong with it.
        remedy: What to do.
    """

    def __init__(self, option: str, value: object, problem: str, remedy: str) -> None:
        self.option, self.value, self.problem, self.remedy = option, value, problem, remedy
        try:
            shown = repr(value)
        except Exception:  # noqa: BLE001 - the value is the caller's
            shown = f"a {type(value).__name__}"
        if len(shown) > _LONGEST_SHOWN:
            shown = shown[:_LONGEST_SHOWN] + "…"
        super().__init__(f"{option}: {shown} {problem} ({remedy})")


class PayloadTooLargeError(EnqueueError):
    """The encoded task is larger than a queue accepts."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        self.kind, self.size_bytes, self.limit_bytes = kind, size_bytes, limit_bytes
        super().__init__(
            f"{kind} takes {size_bytes} bytes, but the limit is {limit_bytes}: "
            "store the data elsewhere and pass its key"
        )


class DeadlinePassedError(EnqueueError):
    """The task could not start before its deadline."""

    def __init__(self, kind: str, deadline: datetime) -> None:
        self.kind, self.deadline = kind, deadline
        super().__init__(
            f"{kind} could only start after its deadline, {deadline:%Y-%m-%dT%H:%M:%SZ}: "
            "extend the deadline or shorten the delay"
        )


class NotFoundError(DulyError):
    """There is no `noun` named `name`."""

    def __init__(self, noun: str, name: str, where: str = "") -> None:
        self.noun, self.name = noun, name
        super().__init__(f"no {noun} {name!r}" + (f" in {where}" if where else ""))


class IllegalTransitionError(DulyError):
    """The `state` of a task does not allow `operation`."""

    def __init__(self, task_id: str, state: str, operation: str) -> None:
        self.task_id, self.state, self.operation = task_id, state, operation
        super().__init__(f"cannot {operation} task {task_id}: it is {state}")


class MalformedTaskError(DulyError):
    """Bytes in a stream are not a valid task. `reason` never quotes them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ProcessDiedError(DulyError):
    """The process that ran a handler ended with `code` before the handler did.

    A negative code is the number of the signal that ended it. The attempt counts as failed.

    Args:
        code: Its exit code.
        how: How it ended, where the code does not tell.
    """

    def __init__(self, code: int, how: str = "") -> None:
        self.code = code
        if how:
            super().__init__(f"the handler's process {how}")
            return
        how = f"exited with code {code}"
        if code < 0:
            how = f"was killed by {_signal_name(-code)}"
        if code == -signal.SIGKILL:
            how += " (out of memory? raise the container's limit, or let it take less at once)"
        super().__init__(f"the handler's process {how}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class SubtaskExitError(DulyError):
    """An asyncio task that a handler had started raised SystemExit or KeyboardInterrupt.

    Raised in its place where the handler awaits the task, since either would end the worker.

    Args:
        raised: What it was, as text.
    """

    def __init__(self, raised: str) -> None:
        self.raised = raised
        super().__init__(f"an asyncio task of the handler raised {raised}")


class UnknownKindError(DulyError):
    """No worker or scheduler has published a job of this kind.

    Args:
        kind: The kind.
        known: The kinds that are published; the message names the closest, and some others.
    """

    def __init__(self, kind: str, known: tuple[str, ...] = ()) -> None:
        self.kind, self.known = kind, known
        close = get_close_matches(kind, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        others = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
        found = f"; known: {others}" if known else ": nobody has published a kind, start a worker"
        super().__init__(f"no job of the kind {kind!r}{hint}{found}")


class OutcomeSignal(DulyError):  # noqa: N818 - an outcome, not a failure
    """The base of what a handler raises to choose the outcome of its task."""


class Retry(OutcomeSignal):
    """Run the task again `after` the given time instead of the policy's backoff.

    The attempt counts as failed: when it was the last one allowed, the task is archived.
    """

    def __init__(self, reason: str = "", *, after: timedelta | None = None) -> None:
        self.after = after
        super().__init__(reason or "the handler asked for a retry")


class Skip(OutcomeSignal):
    """Archive the task without a retry, because another attempt would not help."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler skipped the task")


class Requeue(OutcomeSignal):
    """Return the task to its queue unchanged; the attempt does not count.

    For handlers that see `context.stopping()` and end before the drain budget is spent.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler requeued the task")


class Revoke(OutcomeSignal):
    """Drop the task: it counts as processed, and nothing of it is kept."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler revoked the task")


def describe(error: BaseException, limit: int = 2_000) -> str:
    """Return "Class: message" for any exception, however broken; "Class" where it has no message.

    Foreign exceptions may have a `__str__` that raises, or that returns no text. What UTF-8 cannot
    encode, such as a lone surrogate, is replaced. Never raises.

    Args:
        error: Any exception.
        limit: Characters after which the text is cut off.
    """
    try:
        name = str(type(error).__name__)
    except BaseException:  # noqa: BLE001 - a metaclass may do anything
        name = "exception"
    try:
        message = f"{error!s}"
        text = f"{name}: {message}" if message else name
    except BaseException as broken:  # noqa: BLE001 - `__str__` is foreign code
        text = f"{name}: its text is unavailable, __str__ raised {type(broken).__name__}"
    return encodable(shortened(text, limit))


def shortened(text: str, limit: int) -> str:
    """Return a text cut off at a limit, and before an e-mail address that the cut would split.

    Half an address is none to those who mask addresses, and would stand as it is.

    Args:
        text: Any text.
        limit: In characters.
    """
    head, rest = text[:limit], text[limit : limit + _LONGEST_ADDRESS]
    if not rest or rest[0].isspace() or head[-1:].isspace():
        return head
    before = head[-_LONGEST_ADDRESS:].rsplit(None, 1)[-1:]
    word = "".join(before)
    split = "@" in word or "@" in rest.split(None, 1)[0]
    return head[: len(head) - len(word)] if split else head
