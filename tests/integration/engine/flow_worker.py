"""A worker whose handlers note what they do: to be killed at any moment."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from duly.engine.worker.server import Server, ServerOptions
from duly.flow import group
from duly.job import Job, Policy
from duly.runtime.settings import RedisSettings
from duly.testing.history import History, What

FAST = Policy(backoff="constant", backoff_base=timedelta(0), max_attempts=50)


class Fan(Job, kind="fan", policy=FAST):
    width: int


class Part(Job, kind="part", policy=FAST):
    number: int


class Far(Job, kind="far", policy=Policy(queue="far", backoff_base=timedelta(0))):
    number: int = 0


def parts(job):
    """Members in both queues, and one that comes after them."""
    members = [(Part if n % 2 else Far)(number=n) for n in range(job.width)]
    return group(members, then=Far())


async def main(folder, port):
    settings, stop = RedisSettings(port=port), asyncio.Event()
    options = ServerOptions(
        queues={"default": 1, "far": 1}, concurrency=8, lease=timedelta(seconds=3)
    )
    with History(folder) as history:

        async def note(job, context):
            history.add(What.START, context.id, crashes=context.crashes)
            if isinstance(job, Fan):
                context.then(parts(job), Far(number=99))
            await asyncio.sleep(0.002)
            history.add(What.END, context.id)

        async with Server.open(settings, options) as server:
            for job in (Fan, Part, Far):
                server.handle(job, note)
            await server.run(stop)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
