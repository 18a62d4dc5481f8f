"""Enqueues one task into each queue and waits for its outcome: `helm test`, `skaffold verify`.

An application of one's own does not know that task: there, each queue only needs a worker. Those
named as arguments need none: nothing starts a worker for them before they have tasks.
"""

# ruff: noqa: INP001 - a script, not a package

import asyncio
import sys
from datetime import timedelta

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.jobs.orders import CheckPendingOrders
from duly.runtime.loading import load
from duly.runtime.settings import Settings
from duly.task import TaskState

ENDED = {TaskState.COMPLETED, TaskState.ARCHIVED, TaskState.QUARANTINED}


async def roundtrip(client: Client, inspector: Inspector, queue: str) -> bool:
    """Say whether a task of this queue succeeded."""
    sent = await client.enqueue(
        CheckPendingOrders(), queue=queue, retention=timedelta(minutes=10), unique_for=timedelta(0)
    )
    while (task := await inspector.tasks.get(queue, sent.id)).state not in ENDED:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    sys.stdout.write(f"{queue}: task {task.id} {task.state}\n")
    return task.state is TaskState.COMPLETED


async def served(inspector: Inspector, queue: str) -> bool:
    """Wait until a worker serves this queue."""
    while not any(queue in server.queues for server in await inspector.servers.list()):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    sys.stdout.write(f"{queue}: served\n")
    return True


async def has_worker(inspector: Inspector, queue: str) -> bool:
    """Wait until a worker serves this queue, unless it may have none now."""
    if queue in sys.argv[1:]:
        sys.stdout.write(f"{queue}: not looked at, it has no worker while it has no tasks\n")
        return True
    return await served(inspector, queue)


async def main() -> int:
    """Return the exit code: 0 when each queue ran its task, or has its worker, within a minute."""
    settings = load(Settings)
    async with (
        asyncio.timeout(60),
        Client.connect(settings.redis, settings.queues) as client,
        Inspector.connect(settings.redis) as inspector,
    ):
        done = [
            await (
                has_worker(inspector, queue)
                if settings.app
                else roundtrip(client, inspector, queue)
            )
            for queue in settings.queues
        ]
    return 0 if all(done) else 1


sys.exit(asyncio.run(main()))
