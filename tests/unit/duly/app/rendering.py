"""An app whose tasks run in processes, imported by name in these."""

import os
from datetime import timedelta

from pydantic import BaseModel
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.job import Job, Policy
from duly.runtime.settings import Settings
from duly.task import TaskContext


class RenderingSettings(BaseModel):
    paper: str = "A4"
    copies: int


app = App("rendering", settings=RenderingSettings)
KEPT = timedelta(hours=1)


def printer():
    yield "printer"


@app.task(run_in="process", retention=KEPT)
def render(number: int, context: TaskContext, by: str = Depends(printer)) -> dict[str, object]:
    return {"page": f"page {number} of {context.kind} by a {by}", "pid": os.getpid()}


def ink() -> str:
    raise AssertionError("overridden")


app.dependency_overrides[ink] = lambda: "black"


@app.task(run_in="process", retention=KEPT, max_attempts=1)
def configure(
    own: RenderingSettings = Depends(),
    full: Settings = Depends(),
    shop: App = Depends(),
    ink: str = Depends(ink),
) -> list[object]:
    return [own.paper, own.copies, full.worker.drain.total_seconds(), shop.name, ink]


@app.task(run_in="process", max_attempts=1)
def order(number: int) -> None:
    """Enqueue from a process, which is told the broker and the queues by its worker."""
    render.options(task_id="ordered", queue="paper").enqueue_blocking(number)
    app.enqueue_blocking(Paint(colour="red"), task_id="painted")


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
