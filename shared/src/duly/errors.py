"""The tree of errors: every deliberate failure of duly, each with the facts it was made from.

DulyError
├── ConfigError              a setting is missing, unknown or wrong; nothing was started
├── BrokerError
│   ├── BrokerDownError      Redis or Valkey did not answer in time
│   ├── BrokerWriteError     it answers, but takes no writes now: memory, disk, replicas
│   └── BrokerPolicyError    the server would lose data (eviction, version)
├── EnqueueError
│   ├── DuplicateTaskError   a unique task of this kind and payload is already in its queue
│   ├── TaskIdConflictError  the task id is taken, in whatever state
│   ├── QueueFullError       the queue holds as many tasks as its limit allows
│   ├── PayloadTooLargeError the encoded task exceeds the limit
│   └── DeadlinePassedError  the task would be past its deadline before it may run
├── NotFoundError            no such queue, task, entry or server
├── IllegalTransitionError   the task is in a state from which this operation is not possible
├── MalformedTaskError       bytes in a stream are not a task; they are quarantined
├── ProcessDiedError         the process of a handler ended before the handler did
├── UnknownKindError         a well-formed task of a kind nobody registered
└── OutcomeSignal            raised by handlers to choose what becomes of the task
    ├── Retry                run it again after a given time
    ├── Skip                 archive it now, do not retry
    ├── HandBack             the worker stops: let another one run it, this attempt does not count
    └── Revoke               drop it: neither retried nor archived
"""

import signal
from datetime import datetime, timedelta


class DulyError(Exception):
    """The root: catch this to catch everything duly raises on purpose."""


class ConfigError(DulyError):
    """A setting is missing, unknown or wrong.

    Args:
        path: Its dotted key.
        problem: What is wrong with it.
        remedy: What to do.
        source: The file or the variable that gave it.
        others: Further mistakes that were found with it; each gets a line of the message.
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
    """Something is wrong with Redis or Valkey itself."""


class BrokerDownError(BrokerError):
    """The broker did not answer in time; the call may be repeated with the same task id."""

    def __init__(
        self, address: str, cause: object = "no answer", *, timed_out: bool = False
    ) -> None:
        self.address, self.cause, self.timed_out = address, cause, timed_out
        super().__init__(f"the broker at {address} can not be reached: {cause}")


class BrokerWriteError(BrokerError):
    """The broker takes no writes now: out of memory or disk, or too few replicas.

    Nothing was stored; the call may be repeated.
    """

    def __init__(self, address: str, cause: object) -> None:
        self.address, self.cause = address, cause
        super().__init__(f"the broker at {address} takes no writes now: {cause}")


class BrokerPolicyError(BrokerError):
    """The broker is configured in a way that would lose tasks."""


class EnqueueError(DulyError):
    """A task was refused; nothing of it was stored."""


class DuplicateTaskError(EnqueueError):
    """A unique task with the same kind and payload is still on its way as `task_id`."""

    def __init__(self, kind: str, queue: str, task_id: str) -> None:
        self.kind, self.queue, self.task_id = kind, queue, task_id
        super().__init__(f"{kind} is unique and already in queue {queue} as task {task_id}")


class TaskIdConflictError(EnqueueError):
    """The id belongs to a task that is waiting, active, scheduled, in retry, archived or kept."""

    def __init__(self, task_id: str, queue: str) -> None:
        self.task_id, self.queue = task_id, queue
        super().__init__(f"queue {queue} already holds a task with the id {task_id}")


class QueueFullError(EnqueueError):
    """The queue holds `limit` waiting and active tasks."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"queue {queue} is full: it holds {limit} tasks, its limit")


class PayloadTooLargeError(EnqueueError):
    """The encoded task is larger than a queue accepts."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        self.kind, self.size_bytes, self.limit_bytes = kind, size_bytes, limit_bytes
        super().__init__(
            f"{kind} takes {size_bytes} bytes, the limit is {limit_bytes}: "
            "store the data elsewhere and pass its key"
        )


class DeadlinePassedError(EnqueueError):
    """The task's deadline is over before it may run at all."""

    def __init__(self, kind: str, deadline: datetime) -> None:
        self.kind, self.deadline = kind, deadline
        super().__init__(
            f"{kind} could only run after its deadline, {deadline:%Y-%m-%dT%H:%M:%SZ}: "
            "give it more time, or a shorter delay"
        )


class NotFoundError(DulyError):
    """There is no `noun` named `name`."""

    def __init__(self, noun: str, name: str, where: str = "") -> None:
        self.noun, self.name = noun, name
        super().__init__(f"no {noun} {name!r}" + (f" in {where}" if where else ""))


class IllegalTransitionError(DulyError):
    """`operation` does not apply to a task in `state`."""

    def __init__(self, task_id: str, state: str, operation: str) -> None:
        self.task_id, self.state, self.operation = task_id, state, operation
        super().__init__(f"task {task_id} is {state}: {operation} does not apply")


class MalformedTaskError(DulyError):
    """Bytes in a stream are not a task. `reason` never quotes them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ProcessDiedError(DulyError):
    """The process that ran a handler ended with `code` before the handler did.

    Negative: by that signal. A failed attempt like any other.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        how = f"exited with code {code}"
        if code < 0:
            how = f"was killed by {_signal_name(-code)}"
        if code == -signal.SIGKILL:
            how += " (out of memory?)"
        super().__init__(f"the handler's process {how}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class UnknownKindError(DulyError):
    """No job of this kind is in the catalogue."""

    def __init__(self, kind: str, known: tuple[str, ...] = ()) -> None:
        self.kind = kind
        super().__init__(
            f"no job of the kind {kind!r}" + (f"; known: {', '.join(known)}" if known else "")
        )


class OutcomeSignal(DulyError):  # noqa: N818 - a handler's verdict, not a failure
    """What a handler raises to choose what becomes of its task."""


class Retry(OutcomeSignal):
    """Run the task again `after` the given time, whatever its policy's backoff says.

    The attempt counts; the last allowed attempt archives the task all the same.
    """

    def __init__(self, reason: str = "", *, after: timedelta | None = None) -> None:
        self.after = after
        super().__init__(reason or "the handler asked for a retry")


class Skip(OutcomeSignal):
    """Archive the task now: another attempt would not help."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler gave up")


class HandBack(OutcomeSignal):
    """Give the task back unchanged: it waits again, and this attempt is not counted.

    For handlers that see `context.stopping()` and come to an end before the drain budget does.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the worker stops")


class Revoke(OutcomeSignal):
    """Drop the task: it counts as processed and leaves nothing behind."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler revoked the task")
