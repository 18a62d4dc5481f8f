"""Releases quarantined tasks of an unknown kind once a server arrives that knows the kind.

A deployment may reach producers before workers. What was quarantined meanwhile is not lost, and
nobody has to run it by hand.
"""

from collections.abc import Collection

from duly.engine.inspection.pages import Pages
from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import UNKNOWN_KIND
from duly.engine.storage.store import Store
from duly.errors import DulyError
from duly.task import Task, TaskState

_MOST_PAGES = 100
"""As many as the quarantine holds by default: 10,000 tasks."""


async def release_quarantined(store: Store, queue: str, kinds: Collection[str]) -> int:
    """Make quarantined tasks of these kinds wait again; return how many.

    Only tasks quarantined for their unknown kind: malformed tasks, and those that crashed too
    often, stay. They wait in the order in which they were quarantined. The work is bounded and
    idempotent: any number of servers may do it at once.

    Raises:
        BrokerDownError: Some tasks are left for the next call.
    """
    keys = queue_keys(queue)
    if not await store.connection.command("ZCARD", keys.quarantined):
        return 0
    pages, cursor, released = Pages(store, keys), None, 0
    for _ in range(_MOST_PAGES):
        page = await pages.page(TaskState.QUARANTINED, limit=AT_ONCE, cursor=cursor, newest=False)
        answers = await concurrently(
            store.operate(queue, "run", task_id=task.id)
            for task in page.tasks
            if task.kind in kinds and _was_unknown(task)
        )
        for answer in answers:
            if isinstance(answer, DulyError):
                raise answer
            released += answer == "ok"
        cursor = page.next_cursor
        if cursor is None:
            break
    return released


def _was_unknown(task: Task) -> bool:
    return bool(task.history) and task.history[0].error == UNKNOWN_KIND
