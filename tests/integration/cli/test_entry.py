"""`duly` as a process: what it imports, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from duly.engine.enqueue.client import Client
from duly.jobs import CheckPendingOrders
from duly.testing.environment import inherited

DULY = [sys.executable, "-m", "duly.cli"]
HEAVY = {"asyncio", "msgspec", "opentelemetry", "pydantic", "redis", "rich", "structlog", "taskiq",
         "textual", "yaml"}  # fmt: skip
"""What no command needs that only tells something about the command line."""
UNUSED = {"opentelemetry", "redis", "structlog", "taskiq", "taskiq_redis", "textual", "yaml",
          "duly.local.processes"}  # fmt: skip
"""What a command that reads the broker does not need."""


def imported(*words):
    """The modules that a command has imported at its end."""
    code = (
        "import atexit, sys; from duly.cli.entry import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [("--version",), ("--help",)], ids=" ".join)
def test_what_only_tells_about_the_command_line_imports_no_engine(words):
    assert sorted(HEAVY & imported(*words)) == []


def test_a_command_imports_what_it_uses_and_no_more(broker_settings):
    url = f"redis://{broker_settings.host}:{broker_settings.port}/0"

    modules = imported("--redis-url", url, "queues", "ls")

    assert sorted(UNUSED & modules) == []
    assert "duly.cli.tasks" not in modules


def run(*words, stdout=subprocess.PIPE, **variables):
    return subprocess.run(
        [*DULY, *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**inherited(), **variables},
        timeout=120,
        check=False,
    )


def test_a_file_that_is_full_is_one_line():
    with Path("/dev/full").open("wb") as full:
        done = run("--help", stdout=full)

    assert done.returncode == 1
    assert done.stderr == b"duly: cannot write to standard output: No space left on device\n"


def test_a_reader_that_has_gone_is_no_error_message():
    reading, writing = os.pipe()
    os.close(reading)
    done = run("--help", stdout=writing)
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")


async def test_a_terminal_without_unicode_is_no_traceback(broker_settings):
    url = f"redis://{broker_settings.host}:{broker_settings.port}/0"
    async with Client.connect(broker_settings) as client:
        await client.enqueue(CheckPendingOrders(), task_id="7", headers={"name": "Ωραία"})

    words = ("--redis-url", url, "tasks", "inspect", "7")
    done = await asyncio.to_thread(run, *words, LANG="C", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u03c1" in done.stdout


def test_an_interruption_while_it_loads_is_no_traceback(tmp_path):
    # A module of its own in place of typer tells that loading has begun, and waits.
    (tmp_path / "typer.py").write_text(
        "import sys, time; print('loading', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        DULY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**inherited(), "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (130, b"")


def test_without_its_extra_it_says_what_to_install(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')")
    done = run("--version", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")

    assert done.returncode == 2
    assert done.stderr == (
        b"duly: duly's command line needs the extra `cli`: pip install 'duly[cli]'\n"
    )
