"""What is logged while a handler runs says which attempt it belongs to, whoever logs it."""

import io
import logging

import pytest
import structlog

from duly.runtime import logs
from duly.runtime.attemptlog import ATTEMPT
from duly.runtime.settings import LogSettings
from duly.task import TaskContext

TRACE = "0af7651916cd43dd8448eb211c80319c"
FACTS = "task_id=t1 kind=note queue=low attempt=2"
CONTEXT = TaskContext(id="t1", kind="note", queue="low", attempt=2)


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure(LogSettings(), service="worker", stream=stream)
    return lambda: [line.split(maxsplit=1)[1] for line in stream.getvalue().splitlines()]


@pytest.fixture
def attempt():
    token = ATTEMPT.set(CONTEXT)
    yield CONTEXT
    ATTEMPT.reset(token)


def test_our_lines_and_those_of_libraries_carry_the_attempt(lines, attempt):
    structlog.get_logger("shop").info("Sent", invoice=7)
    logging.getLogger("httpx").warning("Slow")

    assert lines() == [
        f"INFO  Sent invoice=7 {FACTS}",
        f"WARNING Slow logger=httpx {FACTS}",
    ]


def test_outside_of_handlers_lines_are_as_they_were(lines):
    structlog.get_logger("shop").info("Sent")

    assert lines() == ["INFO  Sent"]


def test_what_a_line_says_itself_wins(lines, attempt):
    structlog.get_logger("shop").info("Sent", task_id="another", queue="x")

    assert lines() == ["INFO  Sent task_id=another queue=x kind=note attempt=2"]


def test_the_trace_of_the_task_is_named(lines):
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    token = ATTEMPT.set(TaskContext(id="t1", kind="note", queue="low", headers=headers))
    logging.getLogger("httpx").warning("Slow")
    ATTEMPT.reset(token)

    assert lines()[0].endswith(f"trace_id={TRACE}")
