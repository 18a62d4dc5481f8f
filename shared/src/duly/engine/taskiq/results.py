"""taskiq's result backend on what the engine keeps of a task: its result, or its error."""

import builtins
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import to_jsonable_python
from taskiq import TaskiqResult
from taskiq.abc.result_backend import AsyncResultBackend
from taskiq.depends.progress_tracker import TaskProgress
from taskiq.serialization import create_exception_cls
from typing_extensions import override

from duly.engine.storage.store import Store
from duly.engine.taskiq.calls import current
from duly.engine.taskiq.labels import own_labels
from duly.errors import DulyError, NotFoundError
from duly.task import ENDED, Task, TaskState

_PROGRESS = "taskiq_progress"


class Results(AsyncResultBackend[Any]):
    """Answers what the engine knows of a task. It writes nothing by itself.

    Args:
        opened: Returns the connection.
    """

    def __init__(self, opened: Callable[[], Awaitable[Store]]) -> None:
        self._opened = opened

    @override
    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Let the engine keep what the task that runs here has returned; it keeps errors anyway.

        Raises:
            PydanticSerializationError: JSON cannot represent it.
        """
        call = current()
        if call is not None and call.keeps and call.message.task_id == task_id:
            call.kept = None if result.is_err else to_jsonable_python(result.return_value)

    @override
    async def is_result_ready(self, task_id: str) -> bool:
        """Tell whether a task has ended. One that is not there has, and has left nothing."""
        task = await self._find(task_id)
        return task is None or task.state in ENDED

    @override
    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """Return how a task has ended. Its duration is not kept.

        Raises:
            DulyError: It has not ended, or has left nothing.
        """
        del with_logs  # there are none
        task = await self._find(task_id)
        if task is None:
            raise DulyError(
                f"task {task_id} has left no result: pass DulyBroker(retention=…), give the task a "
                "label duly_retention, or use another result backend"
            )
        if task.state not in ENDED:
            raise DulyError(f"task {task_id} has not ended: it is {task.state}")
        done = task.state is TaskState.COMPLETED
        return TaskiqResult(
            is_err=not done,
            return_value=None if _is_progress(task.result) or not done else task.result,
            execution_time=0,
            labels=own_labels(task.labels),
            error=None if done else _error_of(task),
        )

    @override
    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Show the progress of the task that runs here; others are left alone.

        Raises:
            TypeError: JSON cannot represent it.
            ValueError: It is too large.
        """
        call = current()
        if call is not None and call.context is not None and call.context.id == task_id:
            call.context.write_result({_PROGRESS: progress.model_dump(mode="json")})

    @override
    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """Return the progress of a task that runs, about a second old; None: it has shown none."""
        task = await self._find(task_id)
        if task is None or not _is_progress(task.result):
            return None
        return TaskProgress.model_validate(task.result[_PROGRESS])

    async def _find(self, task_id: str) -> Task | None:
        # Imported here: a process that only sends pays nothing for it.
        from duly.engine.inspection.inspector import Inspector

        try:
            return await Inspector(await self._opened()).tasks.find(task_id)
        except NotFoundError:
            return None


def _is_progress(result: object) -> bool:
    return isinstance(result, dict) and set(result) == {_PROGRESS}


def _error_of(task: Task) -> Exception:
    """Return the error of a task's last attempt; foreign classes are made anew, by their name."""
    text = task.history[0].error if task.history else "it was given up"
    name, _, message = text.partition(": ")
    found = getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            return found(message)
        except TypeError:  # UnicodeError's, which take more
            return RuntimeError(text)
    return create_exception_cls(name if name.isidentifier() else "Error", "duly")(message or text)
