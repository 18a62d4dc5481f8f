import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from duly.clock import SystemClock
from duly.engine.worker.processes.pool import Processes, Target
from duly.task import AttemptOutcome, TaskContext, TaskState

SOON = timedelta(seconds=1)
CLOSED = "ProcessDiedError: the handler's process closed its connection to the worker"
NONSENSE = "ProcessDiedError: the handler's process sent the worker what it cannot read"


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pool(server):
    return server.receiver._runner._processes


async def test_a_process_gets_the_facts_gives_the_result_and_is_used_again(
    server_with, crunch, ended
):
    async with server_with(concurrency=1) as server:
        assert pool(server).pids() == [], "nothing is started before it is needed"
        first = await ended(await crunch("facts", headers={"trace": "7"}))
        second = await ended(await crunch("facts"))

    assert first.state is TaskState.COMPLETED
    assert first.result["headers"] == {"trace": "7"}
    assert first.result["pid"] == second.result["pid"] != os.getpid()
    assert first.result["key"] != second.result["key"]
    assert 30 < first.result["remaining"] <= 120
    assert not alive(first.result["pid"])


async def test_a_process_tells_progress_and_results_while_it_runs(
    server_with, crunch, begun, inspector, until
):
    async with server_with():
        task = await crunch("report")
        await begun("report")

        async def told():
            found = await inspector.tasks.get("default", task.id)
            return found.progress and (found.progress.note, found.result)

        assert await until(told)
        await until(lambda: asked(told, ("row 9999", {"row": 9999})))
        await inspector.tasks.cancel("default", task.id)


async def asked(told, wanted):
    return await told() == wanted


async def test_what_comes_next_is_said_in_a_process_too(server_with, crunch, ended, inspector):
    async with server_with():
        first = await ended(await crunch("carry_on"))
        for task_id in ("next", f"{first.id}.2.1", f"{first.id}.2.2"):
            follower = await ended(replace(first, id=task_id))
            assert follower.state is TaskState.COMPLETED
        wrong = await ended(await crunch("misplan"))

    assert wrong.state is TaskState.ARCHIVED
    assert "colour" in wrong.history[0].error


async def test_what_the_handler_raises_is_told_as_if_it_had_run_here(server_with, crunch, ended):
    async with server_with():
        failed = await ended(await crunch("fail"))
        skipped = await ended(await crunch("skip", max_attempts=5))
        later = await ended(await crunch("retry", max_attempts=5))

    (attempt,) = failed.history
    assert attempt.error == "LookupError: no such ? row"
    assert "in fail" in attempt.traceback
    assert "processes.py" not in attempt.traceback
    assert [attempt.outcome for attempt in skipped.history] == [AttemptOutcome.SKIPPED]
    assert later.due_at - later.history[0].at > timedelta(minutes=6)


@pytest.mark.fault("poison")
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("leave", "ProcessDiedError: the handler's process exited with code 3"),
        ("die", "ProcessDiedError: the handler's process was killed by SIGSEGV"),
        ("strange", "TypeError: Encoding objects of type object is unsupported"),
        ("close", CLOSED),
        (
            "close_all",
            CLOSED,
        ),
        ("shut", CLOSED),
        (
            "take_over",
            CLOSED,
        ),
        ("chatter", NONSENSE),
        ("overlong", NONSENSE),
        ("mute", "MuteError: its text is unavailable, __str__ raised LookupError"),
        ("textless", "ValueError"),
        ("numb", "TextError: its text is unavailable, __str__ raised TypeError"),
        ("leave_python", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("generator_exit", "GeneratorExit"),
        ("foreign", "ForeignError: no Exception"),
        ("nameless", "exception: why"),
        ("verbose", "ValueError: " + "x" * 1988),
        ("deep", "RecursionError: maximum recursion depth exceeded"),
        ("surrogates", "UnicodeEncodeError: 'utf-8' codec can't encode character"),
        ("hostile_result", "TypeError: Encoding objects of type Hostile is unsupported"),
        ("fork_and_raise", "ValueError: in the parent"),
        ("huge", "ValueError: the result takes 300002 bytes, but the limit is 262144"),
    ],
)
async def test_a_death_or_a_wrong_result_is_a_failed_attempt_and_the_pool_heals(  # noqa: PLR0917
    server_with, crunch, ended, how, error, tmp_path
):
    async with server_with(concurrency=1):
        task = await ended(await crunch(how))
        after = await ended(await crunch("facts"))

    assert task.state is TaskState.ARCHIVED
    (attempt,) = task.history
    assert attempt.error.startswith(error)
    assert len(attempt.error) <= 2_000
    assert attempt.duration < timedelta(minutes=1)
    assert after.state is TaskState.COMPLETED
    if how == "take_over":
        assert (tmp_path / how).read_bytes() == b"", "no reply goes into a handler's file"


@pytest.mark.parametrize(
    "how", ["fork_and_raise_there", "fork_and_return", "fork_and_report", "fork_and_leave"]
)
async def test_a_process_that_a_handler_forks_answers_for_nobody(  # noqa: PLR0917
    server_with, crunch, ended, how, tmp_path, until
):
    async with server_with(concurrency=1):
        first = await ended(await crunch(how))
        await until((tmp_path / how).exists)
        second, third = await ended(await crunch("facts")), await ended(await crunch("facts"))

    assert first.state is TaskState.COMPLETED
    assert first.result["exit"] == (tmp_path / how).read_text()
    assert first.progress is None
    assert first.result["pid"] == second.result["pid"] == third.result["pid"]


async def test_what_a_thread_of_an_earlier_task_reports_is_dropped(
    server_with, crunch, ended, inspector
):
    async with server_with(concurrency=1):
        left = await ended(await crunch("leave_thread"))
        task = await ended(await crunch("facts_after"))

    assert left.state is task.state is TaskState.COMPLETED
    assert task.progress is None or task.progress.note != "of another task"


@pytest.mark.fault("poison")
async def test_a_process_killed_from_outside_is_a_failed_attempt(server_with, crunch, begun, ended):
    async with server_with():
        task = await crunch("wait")
        os.kill(await begun("wait"), signal.SIGKILL)
        (attempt,) = (await ended(task)).history

    assert attempt.outcome is AttemptOutcome.FAILED
    assert "was killed by SIGKILL (out of memory? raise the container's limit" in attempt.error


async def test_a_handler_sees_its_timeout_and_may_end_by_itself(
    server_with, crunch, ended, tmp_path
):
    async with server_with() as server:
        await ended(await crunch("facts"))
        (attempt,) = (await ended(await crunch("wait", timeout=SOON))).history
        assert len(pool(server).pids()) == 1, "a process that obeys is kept"

    assert attempt.outcome is AttemptOutcome.TIMED_OUT
    assert (tmp_path / "wait").read_text() == "cancelled"


@pytest.mark.fault("poison")
@pytest.mark.parametrize("how", ["lock", "deaf"])
async def test_a_handler_that_does_not_end_is_killed_at_the_hard_timeout(
    server_with, crunch, begun, ended, how
):
    async with server_with(hard_timeout=timedelta(seconds=3), concurrency=1):
        await ended(await crunch("facts"))  # which has the process started
        task = await crunch(how, timeout=SOON)
        pid = await begun(how)
        (attempt,) = (await ended(task)).history
        assert not alive(pid)
        assert (await ended(await crunch("facts"))).state is TaskState.COMPLETED

    assert attempt.outcome is AttemptOutcome.TIMED_OUT
    assert attempt.error == "TimeoutError: not done within 1 s"
    assert timedelta(seconds=2.9) < attempt.duration < timedelta(minutes=1)


async def test_a_hard_timeout_may_come_before_the_timeout(server_with, crunch, ended):
    async with server_with(hard_timeout=timedelta(seconds=1)):
        (attempt,) = (await ended(await crunch("deaf"))).history

    assert attempt.outcome is AttemptOutcome.TIMED_OUT
    assert attempt.error == "TimeoutError: not done within 1 s: its process was ended"


async def test_a_cancelled_task_is_over_at_once_with_all_it_started(
    server_with, crunch, begun, ended, inspector
):
    async with server_with():
        task = await crunch("family")
        grandchild = await begun("family")
        await inspector.tasks.cancel("default", task.id)
        (attempt,) = (await ended(task)).history
        assert not alive(grandchild)

    assert attempt.outcome is AttemptOutcome.CANCELLED
    assert attempt.duration < timedelta(minutes=1)


async def test_the_drain_lets_handlers_hand_back_and_ends_those_that_go_on(  # noqa: PLR0917
    server_with, crunch, begun, inspector, tmp_path, monkeypatch
):
    # "wait" shall have the time to say how it ended, however slow this machine is.
    monkeypatch.setattr("duly.engine.worker.processes.handle._AFTER_SIGTERM", 5.0)
    async with server_with(drain=timedelta(seconds=1)) as server:
        tasks = [await crunch(how) for how in ("polite", "wait", "lock")]
        pids = [await begun(how) for how in ("polite", "wait", "lock")]
        server.stop()

    assert not any(map(alive, pids))
    for task in tasks:
        found = await inspector.tasks.get("default", task.id)
        assert (found.state, found.attempts) == (TaskState.WAITING, 0)
    assert (tmp_path / "wait").read_text() in {"terminated", "cancelled"}


async def test_a_lost_lease_ends_them(server_with, crunch, begun, until):
    async with server_with() as server:
        await crunch("lock")
        pid = await begun("lock")
        server.receiver.lose_lease("default")
        await until(lambda: not alive(pid))


@pytest.fixture
def run_in(crunching):
    """Return a function that runs a handler in one of some children."""
    target = Target.of(crunching.Crunch, crunching.crunch, None)

    async def run(children):
        return await children.run(
            target,
            crunching.Crunch(how="facts"),
            TaskContext(id="1", queue="q", kind="crunch", deadline_ms=9),
            timeout_s=0,
            keeps=True,
            timed_out=lambda: False,
        )

    return run


async def test_processes_are_let_go_when_they_have_been_idle(run_in, until, monkeypatch):
    children = Processes(lambda: 0, clock=SystemClock())
    await asyncio.gather(run_in(children), run_in(children))
    assert len(children.pids()) == 2

    monkeypatch.setattr("duly.engine.worker.processes.pool._IDLE_SECONDS", 0.05)
    await asyncio.gather(run_in(children), run_in(children))

    await until(lambda: children.pids() == [])
    await children.close()


async def test_a_process_is_replaced_when_it_has_run_its_share(run_in, until):
    children = Processes(lambda: 0, clock=SystemClock(), tasks_each=2)
    await run_in(children)
    await run_in(children)

    await until(lambda: children.pids() == [])
    await children.close()


def test_what_a_process_can_not_import_is_refused_at_once(crunching):
    async def coroutine(job, context):
        pass

    for handler in (lambda *_: None, coroutine, object()):
        with pytest.raises(TypeError, match="process"):
            Target.of(crunching.Crunch, handler, None)
