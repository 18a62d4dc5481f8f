"""The code on the pages for those who come from taskiq and Celery runs as it is written."""

import ast
import asyncio
import inspect
import re
import sys
from types import ModuleType

import pytest
from taskiq import AsyncBroker

ADDRESS = "redis://127.0.0.1:6379"
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.fixture
def module(monkeypatch):
    """A module for the code, since taskiq finds functions by their modules."""
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(asyncio=asyncio, stop=asyncio.Event())
    return module


@pytest.mark.parametrize(("page", "blocks"), [("from-taskiq", 5), ("from-celery", 1)])
async def test_the_code_of_a_page_runs(page, blocks, module, pytestconfig, valkey_server):
    valkey_server.flush()
    text = (pytestconfig.rootpath / f"docs/{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == blocks

    for block in found:
        code = compile(block.replace(ADDRESS, valkey_server.url), page, "exec", FLAGS)
        answer = eval(code, vars(module))
        if inspect.isawaitable(answer):
            await answer

    for thing in vars(module).values():
        if isinstance(thing, AsyncBroker):
            await thing.shutdown()


def test_the_code_of_celery_is_code(pytestconfig):
    text = (pytestconfig.rootpath / "docs/from-celery.md").read_text(encoding="utf-8")

    (block,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)

    compile(block, "from-celery", "exec")
