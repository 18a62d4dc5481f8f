import contextlib
import os
import pty
import sys

import pytest

from duly_worker.progress import progress


def test_without_a_terminal_there_are_lines(capsys):
    with progress("orders", 50) as update:
        for done in range(1, 51):
            update(done)

    out, lines = capsys.readouterr()
    assert out == ""
    assert lines.splitlines()[:2] == ["5 of 50 orders", "10 of 50 orders"]
    assert len(lines.splitlines()) == 10


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    pytest.importorskip("rich")
    reading, writing = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("orders", 3) as update:
            update(3)
    shown = b""
    with contextlib.suppress(OSError):  # the end: nobody writes any more
        while part := os.read(reading, 100_000):
            shown += part
    os.close(reading)

    assert b"orders" in shown
    assert b"3/3" in shown
