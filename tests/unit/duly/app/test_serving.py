"""An application on a real broker: what runs its tasks, and what they are given."""

import asyncio
import functools
import os
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel
from taskiq_dependencies import Depends

from duly.app.configuration import configured
from duly.app.declaration import App
from duly.app.resources import LifespanError
from duly.app.serving import StoppedError, serving
from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.middleware import Middleware, Outcome
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import ConfigError, Skip
from duly.job import Aggregate, Job, Policy
from duly.runtime.loading import load
from duly.runtime.settings import DEFAULT_QUEUES, QueueSettings, Settings
from duly.task import TaskContext, TaskState
from duly.testing.idle import run_until_idle
from duly.testing.waiting import until


class SendInvoice(Job, kind="send_invoice", policy=Policy(max_attempts=1)):
    order_id: int


def until_in_thread(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline


@pytest.fixture
def app():
    return App("shop")


@pytest.fixture
def seen():
    return []


@pytest.fixture
def run(app, broker_settings):
    """Enqueue jobs and run the app until nothing is left; return what ran."""

    async def run(*jobs, **options):
        async with app.connect(broker_settings) as client:
            await client.enqueue_many(jobs)
        return await run_until_idle(broker_settings, app, **options)

    return run


async def test_functions_get_their_payload_and_their_context(app, run, seen):
    @app.task
    async def awaited(order_id: int, context: TaskContext = Depends()):
        seen.append((order_id, context.kind, threading.current_thread() is main))

    @app.task
    def plain(order_id: int, context: TaskContext):
        seen.append((order_id, context.kind, threading.current_thread() is main))

    main = threading.current_thread()
    await run(awaited.job(1), plain.payload(order_id=2))

    assert sorted(seen) == [(1, "awaited", True), (2, "plain", False)]


async def test_handlers_get_the_job_and_their_context(app, run, seen):
    @app.handler(SendInvoice)
    async def send(job: SendInvoice, context):
        seen.append((job, context.kind))

    await run(SendInvoice(order_id=1))

    assert seen == [(SendInvoice(order_id=1), "send_invoice")]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("awaits", [True, False])
async def test_dependencies_are_resolved_once_an_attempt_and_closed_in_reverse(
    app, run, seen, is_async, awaits
):
    def session() -> Generator[str, None, None]:
        seen.append("session opened")
        yield "session"
        seen.append("session closed")

    async def awaited_mail(session: str = Depends(session)) -> AsyncGenerator[str, None]:
        seen.append("mail opened")
        yield f"mail of {session}"
        seen.append("mail closed")

    def plain_mail(session: str = Depends(session)) -> Generator[str, None, None]:
        seen.append("mail opened")
        yield f"mail of {session}"
        seen.append("mail closed")

    mail = awaited_mail if awaits else plain_mail

    def done(order_id, mail, session):
        seen.append((order_id, mail, session))

    if is_async:

        @app.task
        async def send(order_id: int, m: str = Depends(mail), s: str = Depends(session)):
            done(order_id, m, s)

    else:

        @app.task
        def send(order_id: int, m: str = Depends(mail), s: str = Depends(session)):
            done(order_id, m, s)

    await run(send.payload(order_id=7))

    opened = ["session opened", "mail opened"]
    assert seen == [*opened, (7, "mail of session", "session"), "mail closed", "session closed"]


def traced(function):
    """An ordinary decorator: what it makes of a coroutine function is a plain one."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("spelling", ["decorated", "plain", "coroutine"])
@pytest.mark.parametrize("depends", ["nothing", "a plain generator", "a coroutine generator"])
async def test_what_a_handler_returns_is_awaited_with_its_dependencies_open(
    app, run, seen, spelling, depends
):
    def plain() -> Generator[str, None, None]:
        yield "mail"
        seen.append("closed")

    async def coroutine() -> AsyncGenerator[str, None]:
        yield "mail"
        seen.append("closed")

    async def work(order_id: int, mail: str) -> None:
        await asyncio.sleep(0)
        seen.append((order_id, mail))

    dependency = {"a plain generator": plain, "a coroutine generator": coroutine}.get(depends)
    default = Depends(dependency) if dependency else "mail"

    async def decorated(order_id: int, mail: str = default) -> None:
        await work(order_id, mail)

    def returns(order_id: int, mail: str = default):
        return work(order_id, mail)

    async def forgets(order_id: int, mail: str = default):
        return work(order_id, mail)

    functions = {"decorated": traced(decorated), "plain": returns, "coroutine": forgets}
    send = app.task(functions[spelling])

    (ran,) = await run(send.job(7))

    assert (ran.outcome, ran.error) == (Outcome.SUCCEEDED, None)
    assert seen == [(7, "mail"), "closed"] if dependency else [(7, "mail")]


async def test_what_is_awaited_late_is_inside_the_middlewares_and_ends_at_its_timeout(
    app, run, seen
):
    class Around(Middleware):
        @asynccontextmanager
        async def around(self, context):
            seen.append("opened")
            try:
                yield
            finally:
                seen.append("closed")

    app.add_middleware(Around())

    async def hang():
        seen.append("began")
        await asyncio.Event().wait()

    @app.task(max_attempts=1, timeout=timedelta(milliseconds=50))
    def send():
        return hang()

    (ran,) = await run(send.job())

    assert ran.outcome is Outcome.ARCHIVED
    assert seen == ["opened", "began", "closed"]


async def test_a_handler_that_returns_a_generator_fails(app, run):
    @app.task(max_attempts=1)
    @traced
    async def send(order_id: int):
        yield order_id

    (ran,) = await run(send.job(7))

    assert (ran.outcome, "whose body does not run" in str(ran.error)) == (Outcome.ARCHIVED, True)


async def test_a_dependency_learns_of_the_error_and_cannot_swallow_it(app, run, seen):
    async def session() -> AsyncGenerator[str, None]:
        try:
            yield "session"
        except ValueError as error:
            seen.append(str(error))

    @app.task(max_attempts=1)
    async def send(s: str = Depends(session)):
        raise ValueError("no post")

    (ran,) = await run(send.job())

    assert (ran.outcome, str(ran.error), seen) == (Outcome.ARCHIVED, "no post", ["no post"])


async def test_a_dependency_that_fails_fails_the_attempt(app, run, seen):
    def broken():
        raise OSError("no route")

    @app.task(max_attempts=2, backoff_base=timedelta(0))
    async def send(mail: str = Depends(broken)):
        seen.append("never")

    ran = await run(send.job())

    assert [(one.attempt, str(one.error)) for one in ran] == [(1, "no route"), (2, "no route")]
    assert seen == []


async def test_lifespans_are_opened_once_a_worker_in_order_and_closed_after_the_last_task(
    app, run, seen
):
    @app.lifespan
    async def pool(settings: Settings = Depends()) -> AsyncGenerator[str, None]:
        seen.append("pool opened")
        yield f"pool of {settings.log.level}"
        seen.append("pool closed")

    @app.lifespan
    def mail(pool: str = Depends(pool)) -> Generator[str, None, None]:
        seen.append("mail opened")
        yield f"mail with {pool}"
        seen.append("mail closed")

    @app.task
    async def send(mail: str = Depends(mail), pool: str = Depends(pool)):
        seen.append((mail, pool))

    await run(send.job(), send.job())

    got = ("mail with pool of INFO", "pool of INFO")
    assert seen == ["pool opened", "mail opened", got, got, "mail closed", "pool closed"]


async def test_a_lifespan_that_fails_is_named_and_closes_those_before_it(app, run, seen):
    @app.lifespan
    async def pool() -> AsyncGenerator[str, None]:
        try:
            yield "pool"
        finally:
            seen.append("pool closed")

    @app.lifespan
    async def broken() -> AsyncGenerator[str, None]:
        raise OSError("no route")
        yield

    with pytest.raises(LifespanError, match=r"the lifespan .*broken raised OSError: no route"):
        await run()

    assert seen == ["pool closed"]


async def test_a_lifespan_that_finds_a_setting_wrong_says_so_itself(app, run):
    @app.lifespan
    async def broken() -> AsyncGenerator[str, None]:
        raise ConfigError("settings.smtp_host", "is empty")
        yield

    with pytest.raises(ConfigError, match=r"settings\.smtp_host: is empty"):
        await run()


@pytest.mark.parametrize("error", [None, ConnectionError("lost while closing")])
async def test_a_stop_ends_the_opening_of_a_lifespan(app, broker_settings, seen, error):
    opening, stop = asyncio.Event(), asyncio.Event()

    @app.lifespan
    async def hangs() -> AsyncGenerator[str, None]:
        opening.set()
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            seen.append("ended")
            if error is not None:
                raise error

    async def stops():
        await opening.wait()
        stop.set()

    options = ServerOptions(queues={"default": 1}, concurrency=1)
    async with Server.open(broker_settings, options) as server, asyncio.TaskGroup() as group:
        group.create_task(stops())
        with pytest.raises(StoppedError):
            async with serving(app, server, Settings(redis=broker_settings), stop):
                raise AssertionError("it never opens")
        assert not asyncio.current_task().cancelling()

    assert seen == ["ended"]


async def test_settings_of_the_app_and_overrides_for_tests(run, seen, broker_settings):
    class ShopSettings(BaseModel):
        currency: str = "EUR"

    app = App("shop", settings=ShopSettings)

    @app.lifespan
    async def pool() -> AsyncGenerator[str, None]:
        raise AssertionError("overridden")
        yield

    def mail() -> str:
        raise AssertionError("overridden")

    @app.task
    async def send(
        own: ShopSettings = Depends(), mail: str = Depends(mail), pool: str = Depends(pool)
    ):
        seen.append((own.currency, mail, pool))

    app.dependency_overrides = {mail: lambda: "fake mail", pool: lambda: "fake pool"}
    async with app.connect(broker_settings):
        await send.enqueue()

    await run_until_idle(broker_settings, app)

    assert seen == [("EUR", "fake mail", "fake pool")]


async def test_tasks_can_be_enqueued_from_tasks(app, run, seen):
    @app.task
    async def first(client: Client = Depends()):
        await second.enqueue(1)
        await client.enqueue(second.job(2))

    @app.task
    def second(number: int):
        seen.append(number)
        if number < 3:
            second.enqueue_blocking(number + 2)

    await run(first.job())

    assert sorted(seen) == [1, 2, 3, 4]


async def test_groups_are_merged_by_the_app(app, broker_settings, seen):
    @app.task(aggregate=Aggregate(grace=timedelta(seconds=1), max_size=2))
    async def send(order_ids: list[int]):
        seen.append(order_ids)

    @app.merge(send)
    def together(jobs, group):
        return send.payload(order_ids=[order for job in jobs for order in job.order_ids])

    stop = asyncio.Event()
    options = ServerOptions(queues={"default": 1}, concurrency=1)
    async with (
        Server.open(broker_settings, options) as server,
        serving(app, server, Settings(redis=broker_settings), stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(server.run(stop))
        for order in (1, 2):
            # Members of one millisecond are in the order of their ids.
            await send.options(group="a", task_id=f"{order}").enqueue([order])
        await until(lambda: seen)
        stop.set()

    assert seen == [[1, 2]]


async def test_middlewares_and_hooks_belong_to_the_app(app, run, seen):
    class Noted(Middleware):
        def began(self, context):
            seen.append(("began", context.kind))

    app.add_middleware(Noted())

    @app.on_failure
    def failed(end):
        seen.append(("failed", end.outcome))

    @app.on_dead_letter
    def dead(letter):
        seen.append(("dead", letter.kind))

    @app.task(max_attempts=1)
    async def send(works: bool):
        if not works:
            raise Skip("no")

    await run(send.payload(works=True), send.payload(works=False))

    assert seen.count(("began", "send")) == 2
    assert ("failed", Outcome.ARCHIVED) in seen
    assert ("dead", "send") in seen


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_timeout_is_told_as_one_to_all(app, run, seen, in_thread):
    @app.on_failure
    def failed(end):
        seen.append(end.error)

    @app.on_dead_letter
    def dead(letter):
        seen.append(letter.reason)

    def judge(error):
        seen.append(error)
        return True

    options = {"max_attempts": 1, "timeout": timedelta(milliseconds=50), "is_failure": judge}

    @app.task(**options)
    async def hang():
        await asyncio.Event().wait()

    @app.task(**options)
    def block(context: TaskContext):
        until_in_thread(lambda: context.cancelled)

    (ran,) = await run((block if in_thread else hang).job())

    text = "not done within 0.05 s"
    errors = [one for one in (ran.error, *seen) if isinstance(one, BaseException)]
    assert [(type(one), str(one)) for one in errors] == [(TimeoutError, text)] * 3
    assert all(isinstance(one.__cause__, asyncio.CancelledError) for one in errors)
    assert f"TimeoutError: {text}" in seen


async def test_a_dead_letter_of_a_known_kind_names_it(app, client, broker_settings, seen):
    class Other(Job, kind="send"):
        order: str

    @app.on_dead_letter
    def dead(letter):
        seen.append((letter.kind, letter.state))

    @app.task
    async def send(order_id: int): ...

    await client.enqueue(Other(order="x"))
    await run_until_idle(broker_settings, app)

    assert seen == [("send", TaskState.QUARANTINED)]


async def test_a_hook_that_returns_a_coroutine_is_logged(app, run, capsys):
    @app.on_failure
    @traced
    async def failed(end): ...

    @app.task(max_attempts=1)
    async def send():
        raise Skip("no")

    await run(send.job())

    assert "it returned a coroutine, which nothing awaits" in capsys.readouterr().out


@pytest.fixture
def rendering(monkeypatch):
    """An app in a module that child processes can import."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import rendering

    return rendering


async def test_plain_functions_run_in_processes_with_plain_dependencies(
    broker_settings, rendering, monkeypatch
):
    app = rendering.app
    configuration = Settings(redis=broker_settings, settings=rendering.RenderingSettings(copies=1))
    monkeypatch.setenv("DULY_SETTINGS__COPIES", "1")
    async with app.connect(broker_settings):
        await rendering.render.enqueue(7)
        await app.enqueue(rendering.Paint(colour="red"))

    ran = await run_until_idle(broker_settings, app, configuration=configuration)

    assert [one.outcome for one in ran] == [Outcome.SUCCEEDED] * 2, [one.error for one in ran]
    async with Inspector.connect(broker_settings) as inspector:
        page = await inspector.tasks.list("default", TaskState.COMPLETED)
    results = {task.kind: task.result for task in page.tasks}
    assert results["render"]["page"] == "page 7 of render by a printer"
    assert results["paint"]["colour"] == "red by a printer"
    assert os.getpid() not in {result["pid"] for result in results.values()}


async def test_a_handler_in_a_process_that_returns_a_coroutine_fails(broker_settings, rendering):
    async with rendering.app.connect(broker_settings):
        await rendering.sketch.enqueue()

    own = Settings(redis=broker_settings, settings=rendering.RenderingSettings(copies=1))
    (ran,) = await run_until_idle(broker_settings, rendering.app, configuration=own)

    assert ran.outcome is Outcome.ARCHIVED
    assert "it returned a coroutine, which nothing awaits in a process" in str(ran.error)


async def test_a_process_reads_the_configuration_of_its_worker(
    broker_settings, rendering, monkeypatch, tmp_path
):
    (tmp_path / "named.yaml").write_text("settings: {copies: 3, paper: A5}\nworker: {drain: 7s}\n")
    monkeypatch.setenv("DULY_SETTINGS__PAPER", "A3")
    file = tmp_path / "named.yaml"
    settings, app = configured(load(Settings, file), file, app="rendering:app")
    async with app.connect(broker_settings):
        await rendering.configure.enqueue()

    (ran,) = await run_until_idle(broker_settings, app, configuration=settings)

    assert ran.outcome is Outcome.SUCCEEDED, ran.error
    async with Inspector.connect(broker_settings) as inspector:
        task = await inspector.tasks.get("default", ran.id)
    assert task.result == ["A3", 3, 7.0, "rendering", "black"]


async def test_a_process_enqueues_to_the_broker_and_the_queues_of_its_worker(
    broker_settings, rendering, monkeypatch
):
    monkeypatch.setenv("DULY_SETTINGS__COPIES", "1")
    queues = {**DEFAULT_QUEUES, "paper": QueueSettings()}
    own = rendering.RenderingSettings(copies=1)
    settings = Settings(redis=broker_settings, settings=own, queues=queues)
    async with rendering.app.connect(broker_settings):
        await rendering.order.enqueue(7)

    ran = await run_until_idle(broker_settings, rendering.app, configuration=settings)

    assert [one.error for one in ran] == [None] * len(ran)
    assert {"painted"} <= {one.id for one in ran}
    async with Inspector.connect(broker_settings) as inspector:
        ordered = await inspector.tasks.get("paper", "ordered")
    assert ordered.payload == {"number": 7}
