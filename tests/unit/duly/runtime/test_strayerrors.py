"""Errors that nobody awaits, in a service of its own: pytest takes care of them here."""

import asyncio
import contextvars
import json
import subprocess
import sys

import pytest

from duly.runtime.strayerrors import ContextThreads, log_in_context

SERVICE = """
import asyncio, gc, logging, threading
from duly.runtime import logs, service
from duly.runtime.attemptlog import ATTEMPT
from duly.runtime.settings import LogSettings
from duly.task import TaskContext

LOG = logging.getLogger('shop')

def fails(*_):
    raise ValueError("ann@example.com\\nis away")

class Finalized:
    def __del__(self):
        fails()

async def main(stop):
    ATTEMPT.set(TaskContext(id="t1", kind="note", queue="low", attempt=2))
    {what}
    return 0

logs.configure(LogSettings(format="json", mask_email=True), service="worker", direct=True)
service.run(main)
"""
STRAY = {
    "thread": (
        "t = threading.Thread(target=fails, name='pool-1'); t.start(); t.join()",
        "A thread has ended with an error",
    ),
    "finalizer": ("Finalized(); gc.collect()", "An error that cannot be raised"),
    "callback": (
        "asyncio.get_running_loop().call_soon(fails); await asyncio.sleep(0.01)",
        "Exception in callback",
    ),
    "task": (
        "asyncio.create_task(asyncio.to_thread(fails)); await asyncio.sleep(0.2); gc.collect()",
        "Task exception was never retrieved",
    ),
    "executor": (
        "await asyncio.get_running_loop().run_in_executor(None, LOG.warning, 'from a pool')",
        "from a pool",
    ),
}


def said_by(what):
    """Give the lines of a service that does this, and what it writes past the log."""
    done = subprocess.run(
        [sys.executable, "-c", SERVICE.replace("{what}", what)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("stray", STRAY)
def test_it_is_one_line_of_the_log(stray):
    what, message = STRAY[stray]

    lines, past_the_log = said_by(what)

    (line,) = [each for each in lines if message in each["message"]]
    assert "ann@example.com" not in json.dumps(line)
    assert past_the_log == ""


def test_the_executor_of_the_loop_knows_the_attempt():
    lines, _ = said_by(STRAY["executor"][0])

    assert (lines[0]["task_id"], lines[0]["attempt"]) == ("t1", 2)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="contexts cannot be asked for")
def test_a_callback_of_an_attempt_names_it():
    lines, _ = said_by(STRAY["task"][0])

    assert lines[0]["task_id"] == "t1"


def test_a_hook_of_somebody_else_is_left_in_place():
    lines, past_the_log = said_by(
        "threading.excepthook = lambda found: print(found.thread.name, file=__import__('sys')"
        ".stderr); logs.configure(LogSettings(), service='again', direct=True); "
        + STRAY["thread"][0]
    )

    assert lines == []
    assert past_the_log == "pool-1\n"


async def test_the_context_of_what_failed_is_that_of_the_line():
    """Whatever says which context it has is believed."""
    name = contextvars.ContextVar("name", default="none")
    inner = contextvars.copy_context()
    inner.run(name.set, "inner")

    class Loop:
        def default_exception_handler(self, found):
            self.seen = name.get()

    class Handle:
        def get_context(self):
            return inner

    loop = Loop()
    log_in_context(loop, {"message": "m", "handle": Handle()})
    assert loop.seen == "inner"
    log_in_context(loop, {"message": "m", "handle": object()})
    assert loop.seen == "none"


async def test_a_pool_hands_on_the_context():
    name = contextvars.ContextVar("name", default="none")
    name.set("here")

    with ContextThreads(1) as threads:
        assert await asyncio.get_running_loop().run_in_executor(threads, name.get) == "here"
