"""What every test of the tree gets besides the fixtures of `duly.testing`."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.store import Store
from duly.testing.network import PREFIX

# How long an example takes is the machine's affair.
settings.register_profile("duly", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("duly")


def pytest_addoption(parser):
    faults = parser.getgroup("faults", "Tests that inject faults")
    faults.addoption("--rounds", type=int, help="faults in each test that injects several")
    faults.addoption("--measure", type=Path, help="note in this JSON file what was measured")


# A shell starts what it puts into the background with SIGINT ignored, which children inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MIGRATIONS = Path(__file__).parents[1] / "shared/src/duly/orders/migrations/versions"
LOOPBACK = ("127.", "::1", "localhost")
OWN = (*LOOPBACK, "0.0.0.0", PREFIX)


def _only_loopback(event: str, args: tuple) -> None:
    """Refuse connections that leave this machine: a test must not depend on the world."""
    if event != "socket.connect":
        return
    address = args[1]
    if isinstance(address, tuple) and not str(address[0]).startswith(OWN):
        raise PermissionError(f"a test tried to connect to {address[0]}")


sys.addaudithook(_only_loopback)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch, tmp_path_factory):
    """Take away the developer's own DULY_ variables."""
    for name in [name for name in os.environ if name.startswith("DULY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logging_as_before():
    """Undo what `logs.configure` does to this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, level
        logging.captureWarnings(False)


@pytest.fixture
def revisions():
    """The migrations of the orders database, oldest first. Tests name none: a fork adds some."""
    return sorted(path.stem.removeprefix("orders_") for path in MIGRATIONS.glob("orders_*.py"))


@pytest.fixture
async def client(broker_settings):
    """A client of the empty Valkey of `broker_settings`, for queues of whatever name."""
    async with Client.connect(broker_settings, create_queues=True) as client:
        yield client


@pytest.fixture
async def inspector(broker_settings):
    """An inspector of that Valkey."""
    async with Inspector.connect(broker_settings) as inspector:
        yield inspector


@pytest.fixture
async def store(broker_settings):
    """A store on that Valkey."""
    async with Store.open(broker_settings) as store:
        yield store


class Stopwatch:
    """Counts the seconds in which this process had its turns: `stopwatch()` gives them.

    A machine that stalls, or has too much to do, keeps everybody waiting, and says nothing about
    the speed of what is tested. So a pause between two looks at the time counts a little only.
    """

    EVERY, MOST = 0.01, 0.03

    def __init__(self):
        self._seconds, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, name="stopwatch", daemon=True)
        self._thread.start()

    def _run(self):
        last = time.monotonic()
        while not self._ended.wait(self.EVERY):
            now = time.monotonic()
            self._seconds += min(now - last, self.MOST)
            last = now

    def __call__(self):
        return self._seconds

    def end(self):
        self._ended.set()
        self._thread.join()


@pytest.fixture
def stopwatch():
    watch = Stopwatch()
    yield watch
    watch.end()


@pytest.fixture
def collector():
    """A collector of traces on a port of its own."""
    from tests.otlp import Collector  # few tests pay for protobuf

    collector = Collector()
    yield collector
    collector.close()
