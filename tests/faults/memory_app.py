"""Handlers in processes that take memory until they get none: run by test_memory.py."""

from duly import App
from duly.job import Job, Policy


class Hungry(Job, kind="hungry", policy=Policy(max_attempts=1, queue="default")):
    """Takes memory until it gets none."""


class Modest(Job, kind="modest", policy=Policy(queue="default")):
    """Runs in a process, too, and needs nothing."""


app = App("memory")


@app.handler(Hungry, run_in="process")
def devour(_: Hungry) -> None:
    """Take all memory there is."""
    hoard = []
    while True:
        hoard.append(b"x" * (64 * 2**20))


@app.handler(Modest, run_in="process")
def nibble(_: Modest) -> None:
    """Succeed."""
