"""The entries that an application declares: its timetable, and what its providers return now."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from duly.app.calls import Provided
from duly.app.declaration import App
from duly.app.resources import call
from duly.app.signatures import name_of
from duly.errors import ConfigError, DulyError, describe
from duly.job import Job
from duly.schedule import Entry
from duly_scheduler.entriesfile import EntriesFile, Find


async def timetable(app: App, known: Provided) -> tuple[Entry, ...]:
    """Return the entries that are fixed for as long as a scheduler runs.

    Raises:
        ConfigError: A function of the application raised, or returned something else.
    """
    entries = list(app.fixed_entries)
    for function in app.timetables:
        entries += await _entries_of(function, known)
    return tuple(entries)


def declared_jobs(app: App) -> set[type[Job]]:
    """Return the jobs whose classes are in the application: all others are in the catalogue."""
    return {*app.kinds.values(), *(type(entry.job) for entry in app.fixed_entries)}


class DeclaredEntries:
    """Provides what the application's providers and the file of entries return now."""

    def __init__(self, app: App, known: Provided, file: EntriesFile | None) -> None:
        self._app, self._known, self._file = app, known, file

    async def __call__(self, find: Find) -> tuple[Entry, ...]:
        """Ask each of them.

        Args:
            find: Returns the job of a kind by the catalogue, for entries of the file.

        Raises:
            ConfigError: One of them raised, or returned something else.
            BrokerError: A kind could not be looked for.
        """
        entries = list(await self._file.provide(find)) if self._file is not None else []
        for function in self._app.entry_providers:
            entries += await _entries_of(function, self._known)
        return tuple(entries)


async def _entries_of(function: Callable[..., Any], known: Provided) -> Sequence[Entry]:
    place = name_of(function)
    try:
        found = await call(function, known)
        entries = tuple(found) if isinstance(found, Iterable) else (found,)
    except DulyError:
        raise
    except Exception as error:
        raise ConfigError(place, f"raised {describe(error)}") from error
    for entry in entries:
        if not isinstance(entry, Entry):
            remedy = "return a list of duly.Entry"
            raise ConfigError(place, f"returned a {type(entry).__name__}", remedy=remedy)
    return entries
