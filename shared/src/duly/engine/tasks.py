"""Single tasks, by their ids: found, shown, operated on."""

from collections.abc import Iterable
from typing import Literal

from duly.engine.keys import QueueKeys, queue_keys
from duly.engine.pages import Pages
from duly.engine.replies import lock_of
from duly.engine.reruns import Reruns
from duly.engine.store import Store
from duly.errors import IllegalTransitionError, NotFoundError
from duly.task import Task

_CANCELS: dict[str, Literal["archived", "dropped", "retry"]] = {
    "archive": "archived",
    "delete": "dropped",
    "retry": "retry",
}


class Tasks:
    """Every method costs the same however many tasks there are."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def task(self, keys: QueueKeys, task_id: str) -> Task:
        """See `Inspector.task`."""
        task = await Pages(self._store, keys).task(task_id)
        if task is None:
            raise NotFoundError("task", task_id, f"queue {keys.name}")
        return task

    async def find(self, queues: Iterable[str], task_id: str) -> Task:
        """Return one task from whichever of the queues holds it; see `Inspector.find`."""
        names = list(queues)
        places = await self._store.connection.many(
            [("HEXISTS", queue_keys(name).index, task_id) for name in names]
        )
        for name, there in zip(names, places, strict=True):
            if there:
                return await self.task(queue_keys(name), task_id)
        raise NotFoundError("task", task_id)

    async def run(self, keys: QueueKeys, task_id: str) -> None:
        """See `Inspector.run`."""
        await Reruns(self._store, {}).lift(keys, task_id)
        await self._operate(keys, "run", task_id)

    async def archive(self, keys: QueueKeys, task_id: str) -> None:
        """See `Inspector.archive`."""
        await self._operate(keys, "archive", task_id, lock_of(await self.task(keys, task_id)))

    async def delete(self, keys: QueueKeys, task_id: str) -> None:
        """See `Inspector.delete`."""
        await self._operate(keys, "delete", task_id, lock_of(await self.task(keys, task_id)))

    async def cancel(
        self, keys: QueueKeys, task_id: str, outcome: Literal["archive", "delete", "retry"]
    ) -> None:
        """See `Inspector.cancel`."""
        answer = await self._store.cancel(keys.name, task_id=task_id, outcome=_CANCELS[outcome])
        _accept(answer, keys, task_id, "cancel")

    async def _operate(
        self,
        keys: QueueKeys,
        operation: Literal["run", "archive", "delete"],
        task_id: str,
        lock: str = "",
    ) -> None:
        answer = await self._store.operate(keys.name, operation, task_id=task_id, lock=lock)
        _accept(answer, keys, task_id, operation)


def _accept(answer: str, keys: QueueKeys, task_id: str, operation: str) -> None:
    """Raise what a script's answer means, unless it is "ok"."""
    if answer == "missing":
        raise NotFoundError("task", task_id, f"queue {keys.name}")
    if answer != "ok":
        raise IllegalTransitionError(task_id, answer, operation)
