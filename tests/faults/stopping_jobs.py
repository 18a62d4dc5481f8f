"""The job and the handlers of `stopping_app.py`: apart, so that processes can import them."""

import asyncio
import os
import time
from pathlib import Path

import structlog

from duly.job import Job


class Busy(Job, kind="busy"):
    seconds: float
    until: str = ""
    """Ends sooner when there is such a file."""

    def over(self, began):
        """Tell whether it is time to end."""
        ended = self.until and Path(self.until).exists()
        return ended or time.monotonic() - began >= self.seconds


def say(context):
    log = structlog.get_logger("app")
    log.info("Handler began", task_id=context.id, process=os.getpid())


async def nap(job, context):
    say(context)
    began = time.monotonic()
    while not job.over(began):
        await asyncio.sleep(0.01)


def wait(job, context):
    say(context)
    began = time.monotonic()
    while not job.over(began):
        time.sleep(0.01)


crunch = wait
