"""docs/tutorial.md, followed: its files in an empty folder, its commands in a terminal."""

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import httpx
import pytest

from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
NAMED = re.compile(r"`(\w+\.\w+)`[^`]*?:\n\n```\w+\n(.*?)```", re.DOTALL)
DULY = (sys.executable, "-m", "duly.cli")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def folder(tmp_path):
    """The folder of whoever follows the tutorial, with every file that it names."""
    files = dict(NAMED.findall(PAGE.read_text(encoding="utf-8")))
    assert set(files) == {"jobs.py", "web.py", "pytest.ini", "test_jobs.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def said(folder, *command):
    done = subprocess.run(
        command,
        cwd=folder,
        env=inherited(),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commands(start):
    """The commands of the page that begin so, without their comments."""
    found = re.findall(rf"^({re.escape(start)}.*?)(?: +#.*)?$", PAGE.read_text(), re.MULTILINE)
    return [command.split() for command in found]


def test_what_is_declared_runs_and_whatever_enqueues_finds_the_broker(folder, local_run):
    [[_, _, *flags]] = commands("duly up --app")
    run = local_run(*flags, "--port", "0", folder=folder)
    run.until("worker-low +\\| Hello everyone, from attempt 1")

    starts = ("duly kinds", "duly tasks", "duly schedules")
    for _, *words in chain.from_iterable(map(commands, starts)):
        said(folder, *DULY, *words)
    run.until("worker-low +\\| Hello Ada, from attempt 1")

    log = folder / "web.log"
    server = spawn(
        [sys.executable, "-m", "uvicorn", "web:web", "--port", "0"],
        log=log,
        folder=folder,
        environment=inherited(),
    )
    try:
        address = wait_until(
            lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()),
            what="uvicorn runs",
        )
        answer = httpx.post(f"{address[1]}/greetings/Grace", timeout=60)
        assert answer.status_code == 202
    finally:
        stop(server)
    run.until("worker-low +\\| Hello Grace, from attempt 1")


def test_a_task_that_fails_is_told_and_runs_again_once_it_is_mended(folder, local_run):
    jobs = folder / "jobs.py"
    good = jobs.read_text()
    [line] = [line for line in good.splitlines() if "print(" in line]
    broken = good.replace(line.strip(), 'raise ConnectionError("no words today")')
    jobs.write_text(broken)
    [[_, _, *flags]] = commands("duly up --app")
    run = local_run(*flags, "--port", "0", folder=folder)
    run.until("no words today")

    jobs.write_text(good)

    run.until(r"worker-low +\| Hello everyone, from attempt [2-9]")


def test_its_test_passes(folder):
    [command] = commands("pytest")

    out = said(
        folder, sys.executable, "-m", *command, "-p", "no:cacheprovider", "-p", "no:randomly"
    )

    assert "1 passed" in out
