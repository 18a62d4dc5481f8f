"""Tasks that run in processes of their own: how a child finds them, and what it cannot have."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from duly.app.calls import Declared, Provided, dependencies_of, is_awaited
from duly.app.signatures import name_of
from duly.job import Job
from duly.runtime.threads import is_async
from duly.task import TaskContext

if TYPE_CHECKING:
    from duly.app.declaration import App
    from duly.engine.worker.taskiq_broker import Handler

# By name: whoever declares an application loads no engine.
_ONLY_IN_WORKERS: Final = {
    "duly.engine.enqueue.client.Client": "enqueue by `enqueue_blocking` instead",
    "prometheus_client.registry.CollectorRegistry": "nobody scrapes what a process counts",
}


class InProcess:
    """A declared function as a child process of a worker finds it: by name, below the function.

    Args:
        declared: A plain function.
        app: The application that declares it.
    """

    def __init__(self, declared: Declared, app: "App") -> None:
        function = declared.function
        self.__module__ = function.__module__
        self.__qualname__ = f"{function.__qualname__}.in_process"
        self._declared, self._app = declared, app
        self._handler: Handler | None = None

    def __call__(self, job: Job, context: TaskContext) -> Any:  # noqa: ANN401
        """Run one task.

        Raises:
            ConfigError: The configuration is wrong, which the process reads for its first task.
        """
        if self._handler is None:
            self._handler = self._prepared()
        return self._handler(job, context)

    def _prepared(self) -> "Handler":
        """Return what runs the tasks, with what dependencies find ready in this process."""
        from duly.engine.worker.processes.inherited import open_client

        self._app.clients.open_when_asked(open_client)
        if not self._declared.has_dependencies:
            return self._declared.handler(Provided())
        from duly.app.own_settings import with_section
        from duly.app.provision import provided
        from duly.runtime.loading import load
        from duly.runtime.settings import Settings

        model = self._app.settings_model
        settings = load(Settings if model is None else with_section(Settings, model))
        return self._declared.handler(provided(self._app, settings))


def check_in_process(declared: Declared, lifespans: Sequence[Callable[..., Any]]) -> None:
    """Refuse a function that cannot run in a process of its own.

    Args:
        declared: It.
        lifespans: Those of its application, which are open in the worker only.

    Raises:
        TypeError: It is a coroutine function, or depends on what a process does not have.
    """
    name = name_of(declared.function)
    if is_async(declared.function):
        raise TypeError(f"{name} is a coroutine function: only plain ones run in processes")
    for dependency in dependencies_of(Provided().graph(declared.function)):
        if reason := _why_not(dependency, lifespans):
            raise TypeError(f"{name} runs in a process, where {name_of(dependency)} {reason}")


def _why_not(dependency: Any, lifespans: Sequence[Callable[..., Any]]) -> str:  # noqa: ANN401
    """Return why a process cannot provide a dependency; "": it can."""
    if dependency in lifespans:
        return "is not open: a lifespan is the worker's; open it in a dependency of its own"
    if is_awaited(dependency):
        return "cannot be awaited: make it a plain function or generator"
    remedy = _ONLY_IN_WORKERS.get(name_of(dependency), "")
    return f"is not available: {remedy}" if remedy else ""
