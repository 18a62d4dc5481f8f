"""What a server does about the events of its parts."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from typing_extensions import override

from duly.engine.maintenance.on_demand import OnDemandMaintenance
from duly.engine.worker.broker_status import BrokerStatus
from duly.engine.worker.events import WorkerEvents

_SETTLED_BY = timedelta(milliseconds=2)
"""A task is looked for a little later than it is due: its settlement has to arrive first."""


class ServerEvents(WorkerEvents):
    """Has the maintenance of a queue run when there is something to do, and logs outages."""

    def __init__(self, duties: Mapping[str, OnDemandMaintenance], status: BrokerStatus) -> None:
        self._duties, self._status = duties, status

    @override
    def task_due(self, queue: str, wait: timedelta) -> None:
        self._duties[queue].due_in(wait + _SETTLED_BY)

    @override
    def outbox_filled(self, queue: str) -> None:
        self._duties[queue].posted()

    @override
    def broker_failed(self, call: str, error: Exception) -> None:
        self._status.failed(call, error)

    @override
    def broker_answered(self, call: str) -> None:
        self._status.answered(call)


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call a function in the loop from another thread; do nothing once the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)
