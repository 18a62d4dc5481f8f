"""The job and the handlers of `stopping_app.py`: apart, so that processes can import them."""

import asyncio
import os
import time

import structlog

from duly.job import Job


class Busy(Job, kind="busy"):
    seconds: float


def say(context):
    log = structlog.get_logger("app")
    log.info("Handler began", task_id=context.id, process=os.getpid())


async def nap(job, context):
    say(context)
    await asyncio.sleep(job.seconds)


def wait(job, context):
    say(context)
    time.sleep(job.seconds)


crunch = wait
