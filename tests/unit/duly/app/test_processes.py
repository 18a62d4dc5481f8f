"""What runs in a process of its own, and what is refused because it could not run there."""

import contextlib

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.engine.enqueue.client import Client
from duly.job import Job
from duly.runtime.settings import Settings
from duly.task import TaskContext


class Paint(Job, kind="paint"):
    colour: str


class ShopSettings(BaseModel):
    currency: str = "EUR"


async def awaited():
    return 7


async def generates():
    yield 7


@contextlib.asynccontextmanager
async def manages():
    yield 7


def indirect(it=Depends(awaited)):
    return it


@pytest.fixture
def app():
    return App("shop", settings=ShopSettings)


@pytest.mark.parametrize("dependency", [awaited, generates, manages, indirect])
@pytest.mark.parametrize("use_cache", [True, False])
def test_what_a_process_would_have_to_await_is_refused(app, dependency, use_cache):
    def paint(colour: str, it: int = Depends(dependency, use_cache=use_cache)): ...

    def handle(job: Paint, it: int = Depends(dependency, use_cache=use_cache)): ...

    with pytest.raises(TypeError, match=r"paint runs in a process, where .* cannot be awaited"):
        app.task(run_in="process")(paint)
    with pytest.raises(TypeError, match=r"handle runs in a process, where .* cannot be awaited"):
        app.handler(Paint, run_in="process")(handle)
    assert app.kinds == {}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_lifespan_is_not_open_in_a_process(app, is_first):
    def printer():
        yield "printer"

    def paint(colour: str, it: str = Depends(printer)): ...

    declare = [app.lifespan, app.task(run_in="process")]
    first, second = (printer, paint) if is_first else (paint, printer)
    if not is_first:
        declare.reverse()
    declare[0](first)
    with pytest.raises(TypeError, match=r"paint runs in a process, where .*printer is not open"):
        declare[1](second)


@pytest.mark.parametrize(
    ("dependency", "remedy"),
    [(Client, "enqueue by `enqueue_blocking`"), (CollectorRegistry, "nobody scrapes")],
)
def test_what_only_a_worker_has_is_refused(app, dependency, remedy):
    def paint(colour: str, it: dependency = Depends()): ...

    with pytest.raises(TypeError, match=f"is not available: {remedy}"):
        app.task(run_in="process")(paint)


def test_plain_dependencies_settings_and_the_app_are_taken(app):
    def printer(own: ShopSettings = Depends()):
        yield own.currency

    @app.task(run_in="process")
    def paint(
        colour: str,
        context: TaskContext,
        by: str = Depends(printer),
        full: Settings = Depends(),
        shop: App = Depends(),
    ): ...

    assert list(app.kinds) == ["paint"]
