"""The code of docs/adding-a-job.md, executed in its order on a real broker."""

import ast
import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from textwrap import dedent

import pydantic
import pytest

import duly

PAGE = Path(__file__).parents[2] / "docs/adding-a-job.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KNOWN = """
class Mail: ...
class Session: ...
class ClosedForTheNightError(Exception): ...
class SendDigest(Job, kind="send_digest"):
    user: str
    posts: list[int]
async def fetch(region): return [7, 8]
@app.task
async def send_report() -> None: ...
@app.task
async def send_reminders() -> None: ...
pages = SimpleQueue()
"""
"""What the page mentions and the reader has."""


@pytest.fixture
def names(broker_settings, monkeypatch):
    """The names that the page may use, and the broker of the test as the configured one."""
    monkeypatch.setenv("DULY_REDIS__PORT", str(broker_settings.port))
    found = {name: getattr(duly, name) for name in duly.__all__}
    for name in (AsyncGenerator, AsyncIterator, asynccontextmanager, SimpleQueue):
        found[name.__name__] = name
    found |= {"BaseModel": pydantic.BaseModel, "app": duly.App("shop")}
    return found


async def execute(text, names):
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(dedent(text), str(PAGE), "exec", flags, dont_inherit=True)
    answer = eval(code, names)
    if inspect.iscoroutine(answer):
        await answer


async def test_every_block_runs_and_enqueues_what_it_says(names, inspector):
    await execute(KNOWN, names)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 10

    for block in blocks:
        if block.startswith("class SendInvoice"):
            names["app"] = duly.App("shop")  # the other spelling of the same task
        if block.rstrip().splitlines()[-1].startswith("await "):
            async with names["app"].connect():
                await execute(block, names)
        else:
            await execute(block, names)

    low, default = [await inspector.queues.get(name) for name in ("low", "default")]
    assert (low.waiting, low.scheduled) == (1, 1)
    assert default.waiting == 1
    assert [it.name for it in await inspector.groups.list("default")] == ["ada"]
    assert [entry.id for entry in names["app"].fixed_entries] == [
        "send-reminders",
        "morning-report",
    ]
