"""One call of a taskiq task: what has been read, what it asks of the engine, and how it ends."""

from contextvars import ContextVar
from typing import Any

from taskiq import TaskiqMessage
from taskiq.acks import AckController, AcknowledgeType, parse_acknowledge_type
from taskiq.exceptions import NoResultError, TaskRejectedError

from duly.engine.storage.codec import Message, encode_bounded
from duly.engine.taskiq.labels import delay_of, engine_labels, packed, unpacked
from duly.errors import MalformedTaskError, OutcomeSignal, Requeue, Retry
from duly.job import Policy
from duly.task import Replacement, TaskContext

_current: ContextVar["Call | None"] = ContextVar("taskiq_call", default=None)


class Call:
    """A task of taskiq's as the engine runs it: it has a policy, as a job has.

    taskiq retries by sending a task once more, under its id, while it still runs. The engine does
    that in the step that ends the attempt: what is sent meanwhile is kept until then.

    Args:
        message: As it has travelled.
        policy: How it is retried.
        keeps: Whether its result is kept.

    Raises:
        MalformedTaskError: Its labels are not what its message says.
    """

    def __init__(self, message: Message, policy: Policy, *, keeps: bool) -> None:
        self.policy, self.keeps, self.travelled = policy, keeps, message
        self.message: TaskiqMessage = unpacked(message)
        try:
            self.message.parse_labels()
        except (ValueError, TypeError):
            raise MalformedTaskError("a label is not of the type that the message says") from None
        self.context: TaskContext | None = None
        """Once it runs, and until it has ended."""
        self.kept: Any = None
        """What the engine is to keep as its result."""
        self._engine_labels = engine_labels(message)
        self._again: Replacement | None = None
        self.acknowledged = False
        """Whether the application says that it is done."""
        self.controller = AckController(self.acknowledge)
        """For `Context.ack`. The engine settles the task when it has ended, whatever this says."""

    def is_of(self, queue: str, task_id: str) -> bool:
        """Tell whether it is this task that is being sent."""
        context = self.context
        return context is not None and (context.queue, context.id) == (queue, task_id)

    def send_again(self, message: Message) -> None:
        """Keep what is to take the place of the task when this attempt has ended.

        Raises:
            PayloadTooLargeError: It is too large.
            InvalidOptionError: Its `delay` is none.
        """
        data = encode_bounded(packed(message, self._engine_labels))
        self._again = Replacement(message=data, wait=delay_of(message))

    def will_run_again(self, error: BaseException) -> bool:
        """Tell whether the engine tries it again by itself, so that this is not its result yet."""
        context = self.context
        if self._again is not None or context is None:
            return False
        if isinstance(error, OutcomeSignal) and not isinstance(error, Retry):
            return isinstance(error, Requeue)
        return context.attempt < context.max_attempts and not isinstance(error, TaskRejectedError)

    def conclude(self, error: BaseException | None) -> None:
        """Say what becomes of the task, by what is raised; return where it has succeeded."""
        if error is None and self.is_manual and not self.acknowledged:
            text = "its ack_type is manual, and it has ended without an acknowledgement"
            error = RuntimeError(text)
        context = self.context
        if context is not None and self._again is not None:
            context.replacement = self._again
            if error is None or isinstance(error, NoResultError):
                raise Requeue("the task was sent once more")
            context.max_attempts = max(context.max_attempts, context.attempt + 1)
        elif context is not None and isinstance(error, TaskRejectedError):
            context.max_attempts = context.attempt
        if error is not None and not isinstance(error, NoResultError):
            raise error

    @property
    def is_manual(self) -> bool:
        """Whether the application acknowledges it by itself."""
        asked = self.message.labels.get("ack_type")
        return asked is not None and parse_acknowledge_type(asked) is AcknowledgeType.MANUAL

    def acknowledge(self) -> None:
        """Note that the application is done with it."""
        self.acknowledged = True


def current() -> Call | None:
    """Return the call that runs here, if any."""
    return _current.get()


def enter(call: Call) -> None:
    """Make a call that runs the current one of this asyncio task, to its end."""
    _current.set(call)


class running:  # noqa: N801 - used as contextlib's are
    """Makes a call the current one for the body of a `with`."""

    def __init__(self, call: Call, context: TaskContext) -> None:
        self._call, self._context = call, context

    def __enter__(self) -> None:
        """Begin."""
        self._call.context = self._context
        self._token = _current.set(self._call)

    def __exit__(self, *_: object) -> None:
        """End: what it has started and left behind is no part of it any more."""
        _current.reset(self._token)
        self._call.context = None
