"""Sends taskiq messages: each becomes a task of a queue, with what its labels ask for."""

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from taskiq.decor import AsyncTaskiqDecoratedTask

from duly.clock import from_unix_ms, to_ms, to_unix_ms
from duly.engine.enqueue import options
from duly.engine.enqueue.adder import Adder
from duly.engine.enqueue.batcher import Batcher
from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.request import is_accepted, refusal
from duly.engine.middleware.tracing import headers_of_current_span
from duly.engine.storage.codec import Message, arguments_of, encode_bounded
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store, lock_digest
from duly.engine.taskiq.labels import Wish, packed
from duly.errors import DeadlinePassedError
from duly.job import Policy
from duly.runtime.settings import QueueSettings


class Sender:
    """Adds taskiq's messages to queues. Belongs to one loop.

    Args:
        store: The broker.
        queues: The queues whose length is limited otherwise than by default.
    """

    def __init__(self, store: Store, queues: Mapping[str, QueueSettings]) -> None:
        self._store, self._queues = store, DeclaredQueues(store, queues)
        self._batcher = Batcher(Adder(store, self._queues).add)

    async def send(self, queue: str, message: Message, wish: Wish, policy: Policy | None) -> None:
        """Add a message to a queue.

        Args:
            queue: Where it waits.
            message: As taskiq encodes it, positional arguments by name where it is unique.
            wish: What its labels ask for.
            policy: What holds where they ask for nothing.

        Raises:
            EnqueueError: It was refused, and nothing was stored.
            BrokerDownError: The broker did not answer.
        """
        new = _new_task(message, wish, policy, self._store.now_ms())
        answer = await self._batcher.add(queue, new)
        if not is_accepted(answer):
            limit = self._queues.max_length(queue)
            raise refusal(message.task_name, new, queue, answer, limit)


def is_unique(wish: Wish, policy: Policy | None) -> bool:
    """Tell whether a message is refused while another one like it has not ended."""
    return bool(_unique_for(wish, policy))


def by_name(message: Message, task: AsyncTaskiqDecoratedTask[Any, Any] | None) -> Message:
    """Return a message whose arguments have their names, so far as its function tells them."""
    if task is None or not message.args:
        return message
    parameters = list(inspect.signature(task.original_func).parameters.values())
    names = [it.name for it in parameters if it.kind is it.POSITIONAL_OR_KEYWORD]
    if len(names) < len(message.args) or not set(names[: len(message.args)]).isdisjoint(
        message.kwargs
    ):
        return message
    if any(it.kind is it.POSITIONAL_ONLY for it in parameters):
        return message
    named = dict(zip(names, message.args, strict=False))
    return msgspec.structs.replace(message, args=[], kwargs={**named, **message.kwargs})


def _unique_for(wish: Wish, policy: Policy | None) -> timedelta | None:
    return policy.unique_for if wish.unique_for is None and policy else wish.unique_for


def _new_task(message: Message, wish: Wish, policy: Policy | None, now_ms: int) -> NewTask:
    due_ms = now_ms + to_ms(wish.delay) if wish.delay else 0
    first_ms, labels = due_ms or now_ms, _plain_labels(wish)
    if traced := headers_of_current_span():
        labels["headers"] = traced
    lifetime = policy.lifetime if policy else None
    if wish.deadline is not None or lifetime is not None:
        deadline_ms = first_ms + to_ms(lifetime) if lifetime else 0
        if wish.deadline is not None:
            deadline_ms = to_unix_ms(wish.deadline)
        if deadline_ms <= first_ms:
            raise DeadlinePassedError(message.task_name, from_unix_ms(deadline_ms))
        labels["deadline_ms"] = deadline_ms
    lock_ttl_ms = 0
    if unique_for := _unique_for(wish, policy):
        labels["unique_ms"] = to_ms(unique_for)
        labels["lock"] = lock_digest(message.task_name, arguments_of(message))
        lock_ttl_ms = to_ms(unique_for) + first_ms - now_ms
    return NewTask(
        id=options.identifier("task_id", message.task_id),
        data=encode_bounded(packed(message, labels)),
        due_ms=due_ms,
        lock=labels.get("lock", ""),
        lock_ttl_ms=lock_ttl_ms,
    )


def _plain_labels(wish: Wish) -> dict[str, Any]:
    """Return the engine's labels for what is only a number."""
    found = {
        "max_attempts": wish.max_attempts,
        "timeout_ms": to_ms(wish.timeout) if wish.timeout else None,
        "retention_ms": None if wish.retention is None else to_ms(wish.retention),
    }
    return {name: number for name, number in found.items() if number is not None}
