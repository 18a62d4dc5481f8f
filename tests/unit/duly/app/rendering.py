"""An app whose tasks run in processes, imported by name in these."""

import os
from datetime import timedelta

from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.job import Job, Policy
from duly.task import TaskContext

app = App("rendering")
KEPT = timedelta(hours=1)


def printer():
    yield "printer"


@app.task(run_in="process", retention=KEPT)
def render(number: int, context: TaskContext, by: str = Depends(printer)) -> dict[str, object]:
    return {"page": f"page {number} of {context.kind} by a {by}", "pid": os.getpid()}


async def draw() -> None: ...


@app.task(run_in="process", max_attempts=1)
def sketch() -> object:
    """Return what would have to be awaited."""
    return draw()


class Paint(Job, kind="paint", policy=Policy(retention=KEPT)):
    colour: str


@app.handler(Paint, run_in="process")
def paint(job: Paint, context: TaskContext, by: str = Depends(printer)) -> dict[str, object]:
    return {"colour": f"{job.colour} by a {by}", "pid": os.getpid()}
