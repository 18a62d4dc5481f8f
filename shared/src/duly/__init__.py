"""duly: jobs on time, every time. This is the public API; every other module is internal.

What an application needs is imported from here, and nothing else is promised to stay:

>>> from duly import App
>>> app = App("shop")
>>> @app.task(queue="low")
... async def send_invoice(order_id: int) -> None: ...

`import duly` is cheap: each name is loaded when it is first used, so that a producer never pays for
the worker. `docs/api.md` describes every name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskiq_dependencies import Depends

    from duly.app.declaration import App
    from duly.app.functions import TaskFunction
    from duly.app.own_settings import load_settings
    from duly.engine.enqueue.blocking_client import BlockingClient
    from duly.engine.enqueue.client import Client
    from duly.engine.enqueue.request import Request
    from duly.engine.inspection.bulk import BulkPlan
    from duly.engine.inspection.failures import FailureGroup, Survey
    from duly.engine.inspection.inspector import Inspector
    from duly.engine.inspection.removal import QueueInUseError
    from duly.engine.inspection.search import Found, Query
    from duly.engine.middleware import Ended, Middleware, Outcome
    from duly.engine.storage.reports import (
        AuditPage,
        AuditRecord,
        BrokerReport,
        DayReport,
        DeadLetter,
        EntryReport,
        GroupReport,
        JoinReport,
        KindReport,
        LockPage,
        LockReport,
        MinuteReport,
        QueueReport,
        RunningTask,
        ServerReport,
        ServerStatus,
        TaskPage,
        TickOutcome,
        TickReport,
    )
    from duly.engine.taskiq.broker import DulyBroker
    from duly.engine.taskiq.receiver import DulyReceiver
    from duly.engine.worker.server import Server, ServerOptions
    from duly.errors import (
        BrokerDownError,
        BrokerError,
        BrokerPolicyError,
        BrokerWriteError,
        ConfigError,
        DeadlinePassedError,
        DulyError,
        DuplicateTaskError,
        EnqueueError,
        IllegalTransitionError,
        InvalidOptionError,
        InvalidPayloadError,
        MalformedTaskError,
        NotFoundError,
        PayloadTooLargeError,
        ProcessDiedError,
        QueueFullError,
        Requeue,
        Retry,
        Revoke,
        Skip,
        SubtaskExitError,
        TaskIdConflictError,
        UnknownKindError,
    )
    from duly.flow import chain, group, step
    from duly.job import Aggregate, Job, Policy, Rate
    from duly.runtime.settings import QueueSettings, RedisSettings, Settings
    from duly.schedule import CatchUp, Entry, Overlap
    from duly.task import Attempt, AttemptOutcome, Progress, Task, TaskContext, TaskState

__version__ = "0.1.0"

_ORIGINS = {
    "duly.app.declaration": ("App",),
    "duly.app.functions": ("TaskFunction",),
    "duly.app.own_settings": ("load_settings",),
    "taskiq_dependencies": ("Depends",),
    "duly.job": ("Aggregate", "Job", "Policy", "Rate"),
    "duly.flow": ("chain", "group", "step"),
    "duly.task": ("Attempt", "AttemptOutcome", "Progress", "Task", "TaskContext", "TaskState"),
    "duly.schedule": ("CatchUp", "Entry", "Overlap"),
    "duly.engine.enqueue.client": ("Client",),
    "duly.engine.enqueue.blocking_client": ("BlockingClient",),
    "duly.engine.enqueue.request": ("Request",),
    "duly.engine.taskiq.broker": ("DulyBroker",),
    "duly.engine.taskiq.receiver": ("DulyReceiver",),
    "duly.engine.worker.server": ("Server", "ServerOptions"),
    "duly.engine.middleware": ("Ended", "Middleware", "Outcome"),
    "duly.engine.inspection.inspector": ("Inspector",),
    "duly.engine.inspection.removal": ("QueueInUseError",),
    "duly.engine.inspection.bulk": ("BulkPlan",),
    "duly.engine.inspection.failures": ("FailureGroup", "Survey"),
    "duly.engine.inspection.search": ("Found", "Query"),
    "duly.engine.storage.reports": (
        "AuditPage",
        "AuditRecord",
        "BrokerReport",
        "DayReport",
        "DeadLetter",
        "EntryReport",
        "GroupReport",
        "JoinReport",
        "KindReport",
        "LockPage",
        "LockReport",
        "MinuteReport",
        "QueueReport",
        "RunningTask",
        "ServerReport",
        "ServerStatus",
        "TaskPage",
        "TickOutcome",
        "TickReport",
    ),
    "duly.runtime.settings": ("QueueSettings", "RedisSettings", "Settings"),
    "duly.errors": (
        "BrokerDownError",
        "BrokerError",
        "BrokerPolicyError",
        "BrokerWriteError",
        "ConfigError",
        "DeadlinePassedError",
        "DulyError",
        "DuplicateTaskError",
        "EnqueueError",
        "IllegalTransitionError",
        "InvalidOptionError",
        "InvalidPayloadError",
        "MalformedTaskError",
        "NotFoundError",
        "PayloadTooLargeError",
        "ProcessDiedError",
        "QueueFullError",
        "Requeue",
        "Retry",
        "Revoke",
        "Skip",
        "SubtaskExitError",
        "TaskIdConflictError",
        "UnknownKindError",
    ),
}
_ORIGIN = {name: module for module, names in _ORIGINS.items() for name in names}

__all__ = [
    "Aggregate",
    "App",
    "Attempt",
    "AttemptOutcome",
    "AuditPage",
    "AuditRecord",
    "BlockingClient",
    "BrokerDownError",
    "BrokerError",
    "BrokerPolicyError",
    "BrokerReport",
    "BrokerWriteError",
    "BulkPlan",
    "CatchUp",
    "Client",
    "ConfigError",
    "DayReport",
    "DeadLetter",
    "DeadlinePassedError",
    "Depends",
    "DulyBroker",
    "DulyError",
    "DulyReceiver",
    "DuplicateTaskError",
    "Ended",
    "EnqueueError",
    "Entry",
    "EntryReport",
    "FailureGroup",
    "Found",
    "GroupReport",
    "IllegalTransitionError",
    "Inspector",
    "InvalidOptionError",
    "InvalidPayloadError",
    "Job",
    "JoinReport",
    "KindReport",
    "LockPage",
    "LockReport",
    "MalformedTaskError",
    "Middleware",
    "MinuteReport",
    "NotFoundError",
    "Outcome",
    "Overlap",
    "PayloadTooLargeError",
    "Policy",
    "ProcessDiedError",
    "Progress",
    "Query",
    "QueueFullError",
    "QueueInUseError",
    "QueueReport",
    "QueueSettings",
    "Rate",
    "RedisSettings",
    "Request",
    "Requeue",
    "Retry",
    "Revoke",
    "RunningTask",
    "Server",
    "ServerOptions",
    "ServerReport",
    "ServerStatus",
    "Settings",
    "Skip",
    "SubtaskExitError",
    "Survey",
    "Task",
    "TaskContext",
    "TaskFunction",
    "TaskIdConflictError",
    "TaskPage",
    "TaskState",
    "TickOutcome",
    "TickReport",
    "UnknownKindError",
    "__version__",
    "chain",
    "group",
    "load_settings",
    "step",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Load a public name when it is first used."""
    origin = _ORIGIN.get(name)
    if origin is None:
        raise AttributeError(f"module 'duly' has no attribute {name!r}")
    found = getattr(import_module(origin), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
