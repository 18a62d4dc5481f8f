"""`duly up` as a person runs it: in a directory of its own, watched through its output."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import spawn
from duly.testing.waiting import wait_until

STAND_INS = Path(__file__).parent / "stand_ins"
SECONDS = 120.0
"""A process of Python starts in a second or two, on a machine under load in twenty."""


class LocalRun:
    """One `duly up` and everything it started."""

    def __init__(self, folder: Path, *flags: str, environment: dict[str, str]) -> None:
        self.folder, self.flags = folder, flags
        self.log = folder / f"output-{uuid.uuid4().hex}.txt"
        self.environment = {**inherited(), **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "LocalRun":
        self.process = spawn(
            [sys.executable, "-m", "duly.cli", "up", *self.flags],
            log=self.log,
            folder=self.folder,
            environment=self.environment,
        )
        return self

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def facts(self) -> dict[str, object]:
        return json.loads((self.folder / ".duly/run.json").read_text())

    def until(
        self, pattern: str, *, times: int = 1, timeout: float = SECONDS
    ) -> list[re.Match[str]]:
        """Return the matches once there are so many of them in the output."""

        def enough() -> list[re.Match[str]] | None:
            matches = list(re.finditer(pattern, self.text, re.MULTILINE))
            if len(matches) >= times:
                return matches
            if self.process.poll() is not None:
                pytest.fail(f"duly up ended with {self.process.returncode}:\n{self.text}")
            return None

        return wait_until(enough, timeout=timeout, what=f"{times} x {pattern} in\n{self.text}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, *, timeout: float = SECONDS) -> int:
        return self.process.wait(timeout)

    def alive(self) -> dict[int, str]:
        """Return every living process in our directory by pid: who started it does not matter."""
        found = {}
        for home in Path("/proc").glob("[0-9]*"):
            try:
                if (home / "cwd").readlink().is_relative_to(self.folder):
                    line = (home / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(home.name)] = line
            except OSError:
                continue
        return found

    def pid_of(self, words: str) -> int:
        """Return the process whose command line has these words."""
        return next(pid for pid, line in self.alive().items() if words in line)


@pytest.fixture
def local_run(tmp_path):
    """Make `duly up` runs in a fresh directory; none of them outlives the test."""
    runs: list[LocalRun] = []

    def make(*flags: str, folder: Path = tmp_path, **environment: str) -> LocalRun:
        run = LocalRun(folder, *flags, environment=environment)
        runs.append(run)
        return run.start()

    yield make
    for run in runs:
        if run.process.poll() is None:
            run.send(signal.SIGTERM)
            try:
                run.ended(timeout=15)
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.process.wait()
        run.process.wait(15)
        for pid in run.alive():
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stand_in_run(local_run):
    """The same with services in miniature: it is `duly up` itself that is tested."""

    def make(
        *flags: str,
        fails: dict[str, str] | None = None,
        deaf: list[str] | None = None,
        port: int = 0,
        **more: object,
    ) -> LocalRun:
        return local_run(
            "--port",
            str(port),
            *flags,
            PYTHONPATH=os.pathsep.join(
                filter(None, (str(STAND_INS), os.environ.get("PYTHONPATH")))
            ),
            STAND_IN_FAILS=json.dumps(fails or {}),
            STAND_IN_DEAF=json.dumps(deaf or []),
            **more,
        )

    return make
