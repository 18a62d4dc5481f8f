"""A scheduler as a process of its own."""

import contextlib
import re
import signal
import sys
import urllib.error
import urllib.request

import pytest

from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import wait_until

SECONDS = 90.0


class Scheduler:
    """A scheduler process with its log."""

    def __init__(self, folder, broker_port, *arguments, **variables):
        self.log = folder / f"scheduler-{free_port()}.log"
        self.process = spawn(
            [sys.executable, "-m", "duly_scheduler", *arguments],
            log=self.log,
            folder=folder,
            environment={
                **inherited(),
                "DULY_REDIS__PORT": str(broker_port),
                "DULY_REDIS__TIMEOUT": "1s",
                "DULY_METRICS__HOST": "127.0.0.1",
                "DULY_METRICS__PORT": "0",
                "DULY_LOG__LEVEL": "DEBUG",
                "DULY_SCHEDULER__INTERVAL": "1s",
                **variables,
            },
        )

    def text(self):
        return self.log.read_text(encoding="utf-8")

    def said(self, words, times=1):
        wait_until(
            lambda: self.text().count(words) >= times or self.process.poll() is not None,
            timeout=SECONDS,
            what=words,
        )
        assert self.text().count(words) >= times, self.text()

    def ask(self, path):
        self.said("metrics_port=")
        port = re.search(r"metrics_port=(\d+)", self.text())[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self):
        wait_until(lambda: self.ask("/readyz")[0] == 200, timeout=SECONDS, what="ready")

    def end(self, number=signal.SIGTERM):
        """Signal it, and return its code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def claimed(self):
        """Return the slots of the ticks that it claimed."""
        return re.findall(r" Tick .*?slot=(\S+)", self.text())


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def begin(broker_port, *arguments, **variables):
            scheduler = Scheduler(tmp_path, broker_port, *arguments, **variables)
            stack.callback(stop, scheduler.process, grace_seconds=0.1)
            return scheduler

        yield begin
