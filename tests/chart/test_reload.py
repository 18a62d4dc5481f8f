"""The development images' supervisor starts the service anew when a source changes."""

import importlib.util
import os
import sys
import threading
import time

import pytest

STARTED = """
import pathlib, sys, time
with pathlib.Path(sys.argv[1]).open("a") as log:
    log.write("started\\n")
time.sleep(600)
"""


@pytest.fixture
def reload(root, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("reload", root / "deploy/dev/reload.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sources = tmp_path / "src"
    sources.mkdir()
    monkeypatch.setattr(module, "SOURCES", sources)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    return module


def wait_for_starts(log, number):
    deadline = time.monotonic() + 90
    while not (log.exists() and len(log.read_text().splitlines()) >= number):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "never started"
        time.sleep(0.02)


def test_a_changed_source_starts_the_child_anew_and_a_signal_ends_both(reload, tmp_path):
    source, log = reload.SOURCES / "handler.py", tmp_path / "log"
    source.write_text("old")
    stopping, codes = threading.Event(), []
    command = [sys.executable, "-c", STARTED, str(log)]
    thread = threading.Thread(target=lambda: codes.append(reload.supervise(command, stopping)))
    thread.start()
    wait_for_starts(log, 1)

    source.write_text("new")
    os.utime(source, ns=(1, 1))
    wait_for_starts(log, 2)
    stopping.set()
    thread.join(90)

    assert codes == [-15]


def test_only_sources_are_watched(reload):
    (reload.SOURCES / "cache.pyc").write_text("x")
    (reload.SOURCES / "promote.lua").write_text("x")

    assert {path.name for path in reload.snapshot(reload.SOURCES)} == {"promote.lua"}
