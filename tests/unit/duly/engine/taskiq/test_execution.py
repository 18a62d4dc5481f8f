"""A taskiq task runs on duly as taskiq runs it, in each of the three ways."""

import asyncio
import contextvars
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel
from taskiq import (
    Context,
    SimpleRetryMiddleware,
    SmartRetryMiddleware,
    TaskiqDepends,
    TaskiqEvents,
    TaskiqMiddleware,
    TaskiqState,
    async_shared_broker,
    gather,
)
from taskiq.exceptions import NoResultError

from duly import AttemptOutcome, Policy, Retry, Skip, TaskContext, TaskState
from duly.engine.storage.scripts import NewTask


class Address(BaseModel):
    street: str
    number: int = 1


@dataclass
class Point:
    x: int
    y: int


class Recorder(TaskiqMiddleware):
    """Writes down which hooks are called, in which order."""

    def __init__(self, name="", says=None):
        super().__init__()
        self.name, self.said = name, says if says is not None else []

    def say(self, what, message=None):
        self.said.append(f"{self.name}{what}")
        return message

    def startup(self):
        self.say("startup")

    async def shutdown(self):
        self.say("shutdown")

    async def pre_send(self, message):
        return self.say("pre_send", message)

    def post_send(self, message):
        self.say("post_send")

    def pre_execute(self, message):
        return self.say("pre_execute", message)

    async def post_execute(self, message, result):
        self.say(f"post_execute {type(result.error).__name__}")

    def post_save(self, message, result):
        self.say("post_save")

    async def on_error(self, message, result, exception):
        self.say(f"on_error {exception}")


async def result_of(sent):
    return await sent.wait_result(check_interval=0.02, timeout=60)


async def test_arguments_arrive_as_the_annotations_say(broker, run):
    seen = []

    @broker.task
    async def show(number: int, where: Address, *rest: Point, key: str = "", free=None) -> Point:
        seen.append((number, where, rest, key, free))
        return Point(number, where.number)

    async with run(broker):
        sent = await show.kiq("7", Address(street="Main"), Point(1, 2), key="k", free={"a": [1]})
        result = await result_of(sent)

    assert seen == [(7, Address(street="Main"), (Point(1, 2),), "k", {"a": [1]})]
    assert (result.is_err, result.return_value) == (False, Point(7, 1))


async def test_a_plain_function_runs_in_a_thread_with_the_context_variables(broker, run):
    @broker.task
    def where() -> bool:
        return threading.current_thread() is not threading.main_thread()

    async with run(broker):
        assert (await result_of(await where.kiq())).return_value is True


async def test_a_task_may_have_any_name_and_be_called_by_it(broker, run):
    @broker.task(task_name="Öffne das Tor: " + "sehr " * 20 + "weit")
    async def gate(wide: bool) -> bool:
        return wide

    async with run(broker):
        sent = await gate.kicker().with_task_id("the gate").kiq(True)
        result = await result_of(sent)

    assert (sent.task_id, result.return_value) == ("the gate", True)


async def test_dependencies_are_resolved_and_closed_in_order(broker, run):
    said = []

    async def outer():
        said.append("open outer")
        yield "outer"
        said.append("close outer")

    def inner(it: str = TaskiqDepends(outer)):
        said.append(f"open inner of {it}")
        try:
            yield "inner"
        except ValueError:
            said.append("inner saw the error")
        said.append("close inner")

    @broker.task
    async def use(
        fails: bool,
        it: str = TaskiqDepends(inner),
        context: Context = TaskiqDepends(),
        state: TaskiqState = TaskiqDepends(),
        ours: TaskContext = TaskiqDepends(),
    ) -> str:
        said.append(f"run {it}")
        assert context.state is state is broker.state
        assert context.message.task_id == ours.id
        if fails:
            raise ValueError("no")
        return context.message.task_name

    async with run(broker):
        assert (await result_of(await use.kiq(False))).return_value == use.task_name
        assert said == ["open outer", "open inner of outer", "run inner", "close inner",
                        "close outer"]  # fmt: skip
        said.clear()
        assert (await result_of(await use.kiq(True))).is_err
    assert said[2:4] == ["run inner", "inner saw the error"]


async def test_dependencies_can_be_overridden_and_given(broker, run):
    class Session: ...

    def real() -> str:
        raise AssertionError("it is overridden")

    session = Session()
    broker.dependency_overrides[real] = lambda: "fake"
    broker.add_dependency_context({Session: session})

    @broker.task
    async def use(it: str = TaskiqDepends(real), here: Session = TaskiqDepends()) -> bool:
        return it == "fake" and here is session

    async with run(broker):
        assert (await result_of(await use.kiq())).return_value is True


async def test_middlewares_are_called_as_by_taskiq(broker, run):
    said = []
    broker.with_middlewares(Recorder("a:", said), Recorder("b:", said))

    @broker.task
    async def greet(fails: bool) -> None:
        said.append("run")
        if fails:
            raise ValueError("no")

    async with run(broker):
        said.clear()
        await result_of(await greet.kiq(False))
        # The worker may begin before the sender has its answer: each has an order of its own.
        sent = [word for word in said if word.endswith("_send")]
        assert sent == ["a:pre_send", "b:pre_send", "b:post_send", "a:post_send"]
        assert [word for word in said if word not in sent] == [
            "a:pre_execute", "b:pre_execute", "run",
            "b:post_execute NoneType", "a:post_execute NoneType", "b:post_save", "a:post_save",
        ]  # fmt: skip
        said.clear()
        await result_of(await greet.kiq(True))
        assert [word for word in said if word not in sent] == [
            "a:pre_execute", "b:pre_execute", "run", "b:on_error no", "a:on_error no",
            "b:post_execute ValueError", "a:post_execute ValueError", "b:post_save", "a:post_save",
        ]  # fmt: skip
        said.clear()
    assert said == ["a:shutdown", "b:shutdown"]


async def test_a_middleware_changes_what_runs(broker, run):
    class Doubling(TaskiqMiddleware):
        def pre_execute(self, message):
            message.args[0] *= 2
            return message

    broker.with_middlewares(Doubling())

    @broker.task
    async def echo(number: int) -> int:
        return number

    async with run(broker):
        assert (await result_of(await echo.kiq(21))).return_value == 42


async def test_events_of_a_worker(broker, run):
    said = []
    for event in TaskiqEvents:
        broker.add_event_handler(event, lambda state, event=event: said.append(event.name))

    @broker.on_event(TaskiqEvents.WORKER_STARTUP)
    async def start(state):
        state.greeting = "hello"

    @broker.task
    async def greet(state: TaskiqState = TaskiqDepends()) -> str:
        return state.greeting

    async with run(broker):
        assert (await result_of(await greet.kiq())).return_value == "hello"

    assert said == ["WORKER_STARTUP", "WORKER_SHUTDOWN"]


async def test_events_of_a_client(broker):
    said = []
    broker.add_event_handler(TaskiqEvents.CLIENT_STARTUP, lambda _: said.append("up"))
    broker.add_event_handler(TaskiqEvents.CLIENT_SHUTDOWN, lambda _: said.append("down"))

    async with broker:
        said.append("in")

    assert said == ["up", "in", "down"]


async def test_a_task_that_fails_is_not_tried_again_and_keeps_its_error(broker, run, inspector):
    runs = []

    @broker.task
    async def fail():
        runs.append(1)
        raise LookupError("nowhere")

    async with run(broker):
        result = await result_of(sent := await fail.kiq())

    assert (runs, result.is_err, result.return_value) == ([1], True, None)
    assert (type(result.error), str(result.error)) == (LookupError, "nowhere")
    with pytest.raises(LookupError):
        result.raise_for_error()
    task = await inspector.tasks.find(sent.task_id)
    assert (task.state, task.attempts) == (TaskState.ARCHIVED, 1)
    assert "nowhere" in task.history[0].traceback


async def test_the_engine_retries_as_the_label_says(broker, run):
    runs = []

    @broker.task(
        duly_max_attempts=3, duly_policy=Policy(backoff="constant", backoff_base="PT0.01S")
    )
    async def fail(context: TaskContext = TaskiqDepends()):
        runs.append(context.attempt)
        if context.attempt < 3:
            raise ValueError("no")
        return "at last"

    async with run(broker):
        result = await result_of(await fail.kiq())

    assert (runs, result.return_value) == ([1, 2, 3], "at last")


@pytest.mark.parametrize(
    "middleware",
    [
        SimpleRetryMiddleware(default_retry_count=3),
        SmartRetryMiddleware(default_retry_count=3, default_delay=0.02),
    ],
    ids=["simple", "smart"],
)
async def test_taskiqs_middlewares_retry_through_the_engine(broker, run, inspector, middleware):
    seen = []
    broker.with_middlewares(middleware)

    @broker.task(retry_on_error=True)
    async def fail(number: int, context: Context = TaskiqDepends()):
        seen.append((number, context.message.task_id, context.message.labels.get("_retries")))
        raise ValueError("no")

    async with run(broker):
        result = await result_of(sent := await fail.kiq(7))

    assert result.is_err
    assert seen == [(7, sent.task_id, None), (7, sent.task_id, 1), (7, sent.task_id, 2)]
    task = await inspector.tasks.find(sent.task_id)
    assert (task.state, task.attempts) == (TaskState.ARCHIVED, 3)


async def test_a_retry_middleware_leaves_other_errors_alone(broker, run):
    runs = []
    broker.with_middlewares(SimpleRetryMiddleware(types_of_exceptions=[LookupError]))

    @broker.task(retry_on_error=True)
    async def fail():
        runs.append(1)
        raise ValueError("no")

    async with run(broker):
        assert (await result_of(await fail.kiq())).is_err

    assert runs == [1]


async def test_a_requeued_task_runs_again_with_its_count(broker, run, inspector):
    seen = []

    @broker.task
    async def wait(context: Context = TaskiqDepends()) -> str:
        seen.append(context.message.labels.get("X-Taskiq-requeue"))
        if len(seen) < 3:
            await context.requeue()
        return "done"

    async with run(broker):
        result = await result_of(sent := await wait.kiq())

    assert (seen, result.return_value) == ([None, "1", "2"], "done")
    assert (await inspector.tasks.find(sent.task_id)).attempts == 0


async def test_a_rejected_task_is_given_up(broker, run, inspector):
    @broker.task(duly_max_attempts=5)
    async def refuse(context: Context = TaskiqDepends()) -> None:
        context.reject()

    async with run(broker):
        result = await result_of(sent := await refuse.kiq())

    assert type(result.error).__name__ == "TaskRejectedError"
    assert (await inspector.tasks.find(sent.task_id)).attempts == 1


@pytest.mark.parametrize("error", [Retry(), Skip("enough")], ids=["retry", "skip"])
async def test_the_signals_of_duly_are_obeyed(broker, run, error):
    runs = []

    @broker.task(duly_max_attempts=2, duly_policy=Policy(backoff_base="PT0S"))
    async def ask() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise error
        return "done"

    async with run(broker):
        result = await result_of(await ask.kiq())

    assert (len(runs), result.is_err) == ((2, False) if isinstance(error, Retry) else (1, True))


async def test_a_task_without_a_result_has_succeeded(broker, run, inspector, until):
    @broker.task
    async def silent() -> None:
        raise NoResultError

    async with run(broker):
        sent = await silent.kiq()
        assert (await result_of(sent)).return_value is None

    assert (await inspector.tasks.find(sent.task_id)).state is TaskState.COMPLETED


async def test_a_timeout_ends_a_task_with_an_error(broker, run):
    errors = []

    class Noting(TaskiqMiddleware):
        def on_error(self, message, result, exception):
            errors.append(type(exception))

    broker.with_middlewares(Noting())

    @broker.task(timeout=0.2)
    async def hang() -> None:
        await asyncio.Event().wait()

    async with run(broker):
        result = await result_of(await hang.kiq())

    assert errors == [TimeoutError]
    assert isinstance(result.error, TimeoutError)


async def test_an_interrupted_task_has_no_result_whatever_its_cleanup_raises(
    broker, by_server, inspector, until
):
    begun, told = asyncio.Event(), []

    class Noting(TaskiqMiddleware):
        def on_error(self, message, result, exception):
            told.append(exception)

        def post_execute(self, message, result):
            told.append(result)

    broker.with_middlewares(Noting())

    @broker.task
    async def hold() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("lost while rolling back")

    async with by_server(broker):
        sent = await hold.kiq()
        await asyncio.wait_for(begun.wait(), 60)
        await inspector.tasks.cancel("default", sent.task_id, outcome="archive")

        async def archived():
            found = await inspector.tasks.find(sent.task_id)
            return found if found.state is TaskState.ARCHIVED else None

        found = await until(archived)

    assert [attempt.outcome for attempt in found.history] == ["cancelled"]
    assert told == []


async def test_results_of_many_are_gathered(broker, run):
    @broker.task
    async def double(number: int) -> int:
        return 2 * number

    async with run(broker):
        sent = [await double.kiq(number) for number in range(30)]
        results = await gather(*sent, timeout=60, periodicity=0.02)

    assert [result.return_value for result in results] == [2 * number for number in range(30)]


async def test_shared_tasks_run_on_the_default_broker(broker, run, monkeypatch):
    monkeypatch.setattr(async_shared_broker, "_default_broker", None)
    async_shared_broker.default_broker(broker)

    @async_shared_broker.task
    async def shared(number: int) -> int:
        return number + 1

    try:
        async with run(broker):
            assert (await result_of(await shared.kiq(1))).return_value == 2
    finally:
        del broker.global_task_registry[shared.task_name]


async def test_a_broken_middleware_fails_the_task_and_holds_up_nobody(broker, run, inspector):
    class Broken(TaskiqMiddleware):
        def pre_execute(self, message):
            if message.args:
                raise RuntimeError("the middleware is broken")
            return message

    broker.with_middlewares(Broken())

    @broker.task
    async def echo(number: int = 1) -> int:
        return number

    async with run(broker, concurrency=1):
        assert str((await result_of(await echo.kiq(2))).error) == "the middleware is broken"
        assert (await result_of(await echo.kiq())).return_value == 1


@pytest.mark.parametrize("name", ["later", "shop.orders:later"])
async def test_a_task_of_an_unknown_name_is_left_to_workers_that_know_it(
    broker, run, inspector, until, name
):
    @broker.task
    async def known() -> None: ...

    @broker.task(task_name=name)
    async def later() -> None: ...

    await later.kiq()
    del broker.local_task_registry[name]

    async def is_deferred():
        page = await inspector.tasks.list("default", TaskState.SCHEDULED)
        return [task.kind for task in page.tasks] == [name]

    async with run(broker):
        await until(is_deferred, what="it is deferred")


async def test_what_is_no_message_is_quarantined(broker, run, inspector, store, until):
    @broker.task
    async def known() -> None: ...

    await store.add("default", [NewTask(id="odd", data=b"\x80pickle")], max_length=9)

    async def is_quarantined():
        return (await inspector.tasks.list("default", TaskState.QUARANTINED)).tasks

    async with run(broker):
        await until(is_quarantined, what="it is quarantined")


async def test_the_limits_of_a_policy_hold(broker, run):
    running, most = 0, 0

    @broker.task(task_name="shop.orders:limited", duly_policy=Policy(max_running=1))
    async def limited() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with run(broker):
        sent = [await limited.kicker().with_labels(duly_retention=60).kiq() for _ in range(8)]
        await gather(*sent, timeout=60, periodicity=0.02)

    assert most == 1


async def test_a_unique_task_may_be_sent_again_once_it_has_ended(broker, run):
    @broker.task(duly_unique_for=3600)
    async def once(number: int) -> int:
        return number

    async with run(broker):
        for _ in range(2):
            assert (await result_of(await once.kiq(7))).return_value == 7


async def test_a_task_ends_at_its_deadline(broker, run, inspector):
    @broker.task
    async def hang() -> None:
        await asyncio.Event().wait()

    async with run(broker):
        deadline = datetime.now(UTC) + timedelta(seconds=0.5)
        sent = await hang.kicker().with_labels(duly_deadline=deadline).kiq()
        assert isinstance((await result_of(sent)).error, TimeoutError)

    (attempt,) = (await inspector.tasks.find(sent.task_id)).history
    assert attempt.outcome is AttemptOutcome.EXPIRED


async def test_progress_is_seen_while_a_task_runs(broker, run, until):
    from taskiq.depends.progress_tracker import ProgressTracker

    go = asyncio.Event()

    @broker.task
    async def work(tracker: ProgressTracker[int] = TaskiqDepends()) -> None:
        await tracker.set_progress("HALF", 50)
        await go.wait()

    async with run(broker):
        sent = await work.kiq()
        await until(sent.get_progress, what="its progress")
        assert (await sent.get_progress()).meta == 50
        go.set()
        assert (await result_of(sent)).return_value is None


async def test_each_task_has_context_variables_of_its_own(broker, run):
    variable = contextvars.ContextVar("variable", default=0)

    @broker.task
    async def count() -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    async with run(broker):
        results = await gather(*[await count.kiq() for _ in range(20)], timeout=60)

    assert {result.return_value for result in results} == {1}
