"""Takes quarantined tasks back whose kind nobody knew, once a server arrives that knows it.

A release may reach producers before workers. What was quarantined meanwhile is not lost, and needs
nobody to run it by hand.
"""

from collections.abc import Collection

from duly.engine.abreast import AT_ONCE, abreast
from duly.engine.keys import queue_keys
from duly.engine.pages import Pages
from duly.engine.store import Store
from duly.engine.strangers import REASON
from duly.errors import DulyError
from duly.task import Task, TaskState

_MOST_PAGES = 100
"""As many as the quarantine holds by default: 10,000 tasks."""


async def adopt(store: Store, queue: str, kinds: Collection[str]) -> int:
    """Let quarantined tasks of these kinds wait again; return how many did.

    Only those that nobody knew: what is malformed or has crashed too often stays. They wait in the
    order in which they were quarantined. Bounded, and idempotent: any number of servers may do it
    at once.

    Raises:
        BrokerDownError: Some are left for the next call.
    """
    keys = queue_keys(queue)
    if not await store.connection.command("ZCARD", keys.quarantined):
        return 0
    pages, cursor, adopted = Pages(store, keys), None, 0
    for _ in range(_MOST_PAGES):
        page = await pages.page(TaskState.QUARANTINED, limit=AT_ONCE, cursor=cursor, newest=False)
        answers = await abreast(
            store.operate(queue, "run", task_id=task.id)
            for task in page.tasks
            if task.kind in kinds and _nobody_knew(task)
        )
        for answer in answers:
            if isinstance(answer, DulyError):
                raise answer
            adopted += answer == "ok"
        cursor = page.next_cursor
        if cursor is None:
            break
    return adopted


def _nobody_knew(task: Task) -> bool:
    return bool(task.history) and task.history[0].error == REASON
