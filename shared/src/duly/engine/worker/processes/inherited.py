"""What a child process has from its worker besides tasks: the broker, so that handlers enqueue."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from duly.engine.worker.processes.messages import Broker
from duly.errors import DulyError
from duly.runtime.settings import QueueSettings, RedisSettings

if TYPE_CHECKING:
    from duly.engine.enqueue.blocking_client import BlockingClient

_inherited: list[Broker] = []
"""In a child: the last one that its worker has told."""


def told(settings: RedisSettings, queues: Mapping[str, QueueSettings] | None) -> Broker:
    """Return what a worker tells its children about its broker."""
    named = None if queues is None else {name: it.model_dump() for name, it in queues.items()}
    return Broker(_revealed(settings.model_dump()), named)


def inherit(broker: Broker) -> None:
    """Keep what the worker has told; called in a child."""
    _inherited[:] = [broker]


def open_client() -> "BlockingClient":
    """Return a client of the worker's broker, open until the process ends.

    Raises:
        DulyError: This process is no child of a worker.
    """
    from duly.engine.enqueue.blocking_client import BlockingClient  # few handlers enqueue

    if not _inherited:
        raise DulyError("this process runs no tasks of a worker, so it has no broker of one")
    (broker,) = _inherited
    queues = broker.queues
    return BlockingClient(
        RedisSettings.model_validate(broker.settings),
        None
        if queues is None
        else {name: QueueSettings.model_validate(queue) for name, queue in queues.items()},
    ).__enter__()


def _revealed(value: Any) -> Any:  # noqa: ANN401 - what a model is made of
    """Return it as JSON can say it, so that the model reads it back."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {key: _revealed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(inner) for inner in value]
    return value
