"""The application whose tasks misbehave on demand: workers run it as `victim:app`.

A task goes on for as long as there is the file `held-NAME` in the working directory.
"""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from duly import App, Retry

app = App("victim")
LOOK_SECONDS = 0.05


def held(name):
    return Path(f"held-{name}").exists()


@app.task(queue="steady")
async def steady(number: int = 0) -> None:
    """What the timetable enqueues, and what succeeds at once."""


@app.task(queue="busy", max_attempts=3, timeout=timedelta(hours=1))
async def hold(name: str) -> None:
    """Run for as long as somebody wants."""
    while held(name):
        await asyncio.sleep(LOOK_SECONDS)


@app.task(queue="waiting")
async def nap(seconds: float) -> None:
    """Take some time."""
    await asyncio.sleep(seconds)


@app.task(queue="archived", max_attempts=1)
async def fail() -> None:
    """Fail for good."""
    raise RuntimeError("fails on purpose")


@app.task(queue="failing", max_attempts=1_000)
async def retry_while_held(name: str) -> None:
    """Fail several times a second, as long as somebody wants."""
    if held(name):
        raise Retry(after=timedelta(milliseconds=200))


@app.task(queue="blocking", timeout=timedelta(hours=1))
async def block_while_held(name: str) -> None:
    """Block the event loop, two seconds at a time."""
    while held(name):
        time.sleep(2)
        await asyncio.sleep(0.01)


@app.task(queue="stuck", timeout=timedelta(seconds=1), max_attempts=1)
async def ignore_cancellation(name: str) -> None:
    """Go on after the timeout."""
    while held(name):
        try:
            await asyncio.sleep(LOOK_SECONDS)
        except asyncio.CancelledError:
            continue


for each in range(4):
    app.schedule(f"steady-{each}", steady.job(number=each), every=timedelta(seconds=5))
app.schedule("slow", hold.job(name="slow"), queue="slow", every=timedelta(seconds=1))
