"""The shop, a taskiq application, copied to where a test may change it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import spawn
from duly.testing.waiting import until

HERE = Path(__file__).parent
STOCK_LINE = "from taskiq_redis import RedisStreamBroker as Broker\n"
OUR_LINE = "from duly import DulyBroker as Broker\n"
DULY_RECEIVER = ("--receiver", "duly:DulyReceiver")


class Shop:
    """The application in a folder, its processes, and what it has written."""

    def __init__(self, folder, url, stack):
        self.folder, self.journal, self._stack = folder, folder / "journal", stack
        for name in ("shop", "drive.py", "serve.py"):
            source = HERE / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        self._environment = {
            **inherited(),
            "SHOP_URL": url,
            "DULY_REDIS__URL": url,
            "DULY_METRICS__PORT": "0",
            "SHOP_JOURNAL": str(self.journal),
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        }
        self._number = 0

    def move(self):
        """Change the one line."""
        file = self.folder / "shop/broker.py"
        text = file.read_text(encoding="utf-8")
        assert text.count(STOCK_LINE) == 1
        file.write_text(text.replace(STOCK_LINE, OUR_LINE), encoding="utf-8")

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self, *words):
        """Start a process in the background: `taskiq …`, or a file."""
        self._number += 1
        log = self.folder / f"log-{self._number}"
        process = spawn(
            self._command(words), log=log, folder=self.folder, environment=self._environment
        )
        process.log = log
        self._stack.callback(self.kill, process)
        return process

    def worker(self, *words, modules=("shop.orders", "shop.mail")):
        return self.start(
            "taskiq", "worker", "shop.broker:broker", *modules, "--workers", "1", *words
        )

    def run(self, *words):
        """Run a file to its end; return what it prints."""
        done = subprocess.run(
            self._command(words), cwd=self.folder, env=self._environment, timeout=120,
            check=False, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def lines(self):
        text = self.journal.read_text(encoding="utf-8") if self.journal.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    async def until_noted(self, *words):
        await until(lambda: list(words) in self.lines(), what=f"the journal has {words}")

    @staticmethod
    def kill(process):
        """Kill a process and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @staticmethod
    def _command(words):
        if words[0] == "taskiq":
            return [sys.executable, "-m", *words]
        return [sys.executable, *words]


@pytest.fixture
def shop(tmp_path, valkey_server):
    valkey_server.flush()
    with contextlib.ExitStack() as stack:
        yield Shop(tmp_path, valkey_server.url, stack)
