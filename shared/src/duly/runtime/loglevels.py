"""The level of each logger, which a file may change while the service runs.

A line of the file is `logger: LEVEL`; what follows a `#` is a comment. `duly` stands for our own
loggers, `root` for all others; a name covers what is below it, as `sqlalchemy` covers
`sqlalchemy.engine`.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

READ_EVERY: Final = timedelta(seconds=5)
OURS: Final = "duly"
_ROOT: Final = "root"
_LEVELS: Final = {
    name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
}
_SILENT: Final = ("taskiq.receiver", "taskiq.receiver.receiver", "taskiq.receiver.params_parser")
"""Loggers that quote messages they cannot parse. Payloads must stay out of the log."""


class LogLevels:
    """What each logger writes.

    Args:
        level: That of our own loggers, where the file does not name them.
        file: Read again whenever it has changed; None: there is none.
        warn: Called with a sentence, once, when the file cannot be used.
    """

    def __init__(self, level: int, file: Path | None, warn: Callable[[str], None]) -> None:
        self._level, self._file, self._warn = level, file, warn
        self._given: Mapping[str, int] = {}
        self._text, self._warned = "", ""
        self._known: dict[str, int] = {}
        self._apply({})

    @property
    def may_change(self) -> bool:
        """Whether there is a file that changes levels."""
        return self._file is not None

    def of(self, name: str) -> int:
        """Return the level of one of our own loggers."""
        level = self._known.get(name)
        if level is None:
            level = self._known[name] = self._look_up(name)
        return level

    def look(self) -> None:
        """Read the file, and change levels if it says something else than before.

        Without the file, levels are those of the settings. A mistake changes nothing, and is told
        once.
        """
        if self._file is None:
            return
        try:
            text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
            if text != self._text:
                self._apply(levels_of(text))
                self._text = text
        except (OSError, ValueError) as error:
            if str(error) != self._warned:
                self._warned = str(error)
                self._warn(f"{self._file}: {error}")

    def watch(self, wanted: Callable[[], bool], every: timedelta = READ_EVERY) -> None:
        """Look again and again, from a daemon thread, as long as `wanted` says so."""

        def run() -> None:
            pause = threading.Event()
            while not pause.wait(every.total_seconds()) and wanted():
                self.look()

        threading.Thread(target=run, name="log levels", daemon=True).start()

    def _look_up(self, name: str) -> int:
        while name:
            if name in self._given:
                return self._given[name]
            name = name.rpartition(".")[0]
        return self._level

    def _apply(self, levels: Mapping[str, int]) -> None:
        for name in self._given.keys() - levels.keys():
            _set(name, logging.WARNING if name == _ROOT else logging.NOTSET)
        for name, level in levels.items():
            _set(name, level)
        for name in _SILENT:
            _set(name, logging.CRITICAL + 1)
        self._given, self._known = levels, {}


def levels_of(text: str) -> dict[str, int]:
    """Read the lines of a file of levels.

    Raises:
        ValueError: A line is not `logger: LEVEL`; the message says which.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        name, colon, level = (part.strip().strip("\"'") for part in content.partition(":"))
        if not colon or not name or level.upper() not in _LEVELS:
            known = ", ".join(_LEVELS)
            raise ValueError(f"line {number} is not `logger: LEVEL`, with one of {known}")
        found[name] = _LEVELS[level.upper()]
    return found


def _set(name: str, level: int) -> None:
    logging.getLogger(None if name == _ROOT else name).setLevel(level)
