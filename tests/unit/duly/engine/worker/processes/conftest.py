"""Servers whose handlers run in processes, and tasks for them."""

from contextlib import suppress
from pathlib import Path

import pytest

from duly.errors import NotFoundError
from duly.task import TaskState


@pytest.fixture
def crunching(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import crunching

    return crunching


@pytest.fixture
def server_with(serving, crunching):
    """Return `serving` for the handler that does as the payload says, in a process."""

    def serve(hard_timeout=None, **options):
        return serving(
            {crunching.Crunch: crunching.crunch},
            handle={"run_in": "process", "hard_timeout": hard_timeout},
            **options,
        )

    return serve


@pytest.fixture
def crunch(client, crunching, tmp_path):
    """Return a function that enqueues a task of a given nature."""

    async def enqueue(how, **options):
        file = str(tmp_path / how)
        return await client.enqueue(crunching.Crunch(how=how, file=file), **options)

    return enqueue


@pytest.fixture
def begun(until, tmp_path):
    """Return a function that waits for a handler to begin, and returns its process."""

    async def wait(how):
        def pid():
            with suppress(FileNotFoundError, ValueError):
                return int((tmp_path / how).read_text())

        return await until(pid, what=f"{how} has begun")

    return wait


@pytest.fixture
def ended(inspector, until):
    """Return a function that waits for a task's end and returns it."""

    async def wait(task, *states):
        wanted = states or (TaskState.ARCHIVED, TaskState.COMPLETED, TaskState.RETRY)

        async def look():
            with suppress(NotFoundError):
                found = await inspector.tasks.get("default", task.id)
                return found if found.state in wanted else None

        return await until(look, timeout=120, what=f"the end of {task.id}")

    return wait
