"""The check of pending orders, and a task that does nothing: run by test_log_reader.py."""

from duly.job import Job, Policy
from duly.orders.app import app


class Nothing(Job, kind="nothing", policy=Policy(queue="low")):
    """Succeeds."""


@app.handler(Nothing)
async def nothing(_: Nothing) -> None:
    """Succeed."""
