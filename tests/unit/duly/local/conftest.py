"""What a terminal would get of the processes that share it."""

import os

import pytest

from duly.local.console import Console


class Terminal:
    """A pipe to write to, and its reader."""

    def __init__(self):
        reading, self._writing = os.pipe()
        self.reader = os.fdopen(reading, "rb", 0)
        self._consoles = []

    def console(self, *, colour=False, on_closed=lambda: None, as_json=False):
        console = Console(
            descriptor=self._writing, colour=colour, on_closed=on_closed, as_json=as_json
        )
        self._consoles.append(console)
        return console

    def end(self):
        # A thread that still wrote would write to the next file that gets this number.
        self.reader.close()
        for console in self._consoles:
            assert console.close(timeout_seconds=60)
        os.close(self._writing)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.end()
