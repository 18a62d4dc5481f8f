"""Entries from a YAML file, such as a mounted ConfigMap, read again while the scheduler runs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import structlog
from pydantic import Field, ValidationError

from duly.described_job import fields_of
from duly.errors import ConfigError, UnknownKindError
from duly.job import Job
from duly.payload_schema import SchemaUnreadableError
from duly.runtime.mistakes import explain
from duly.runtime.outline import outline
from duly.runtime.section import Duration, Section
from duly.runtime.settings import QueueName
from duly.schedule import CatchUp, Entry, Overlap

Find = Callable[[str], Awaitable[type[Job]]]
"""Returns the job of a kind by the catalogue in the broker."""


class Line(Section):
    """One entry of the file: a job of any kind and when it is due."""

    kind: str = Field(description="kind of the job")
    payload: Any = Field(None, description="fields of the job")
    interval: Duration | None = Field(None, description="time between two ticks")
    cron: str | None = Field(None, description="instead of interval: minute hour day month weekday")
    timezone: str = Field("UTC", description="IANA name of the time zone of cron")
    queue: QueueName | None = Field(None, description="default: the queue of the job's policy")
    overlap: Overlap = Field(Overlap.SKIP, description="skip, queue_one or allow")
    catch_up: CatchUp = Field(CatchUp.SKIP, description="skip, one or all")
    catch_up_limit: int = Field(100, description="most missed slots that catch_up: all enqueues")
    paused: bool = Field(default=False, description="let its ticks pass without a task")


class _File(Section):
    entries: dict[str, Line] = Field(default_factory=dict, description="id of an entry → the entry")


class EntriesFile:
    """Provides the entries that the file holds now.

    Args:
        file: Its path.
        local: Jobs whose classes are here; every other kind is looked for in the catalogue.
    """

    def __init__(self, file: Path, local: Iterable[type[Job]] = ()) -> None:
        self._file = file
        self._local = {job.kind: job for job in local}
        self._found: dict[str, type[Job]] = {}
        """What was last known of other kinds, for as long as the broker has lost them."""
        self._refused: dict[str, str] = {}
        self._log = structlog.get_logger("duly.scheduler")

    async def provide(self, find: Find) -> tuple[Entry, ...]:
        """Read the file without blocking the loop, and make entries of all kinds.

        An entry is left out, and told of in the log once, while nobody has published its kind, or
        its payload does not fit what was published. The others go on.

        Args:
            find: Returns the job of a kind by the catalogue.

        Raises:
            ConfigError: As `read` does.
            BrokerError: A kind could not be looked for.
        """
        lines = await asyncio.to_thread(self._lines)
        entries, refused = list[Entry](), dict[str, str]()
        for name, line in lines.items():
            if line.kind in self._local:
                entries.append(self._entry(name, line, self._local[line.kind]))
                continue
            try:
                entries.append(self._entry(name, line, await self._look(line.kind, find)))
            except (UnknownKindError, SchemaUnreadableError) as error:
                refused[name] = f"{self._file}: entries.{name}.kind: {error}"
            except ConfigError as error:
                refused[name] = str(error)
        for name, reason in refused.items():
            if self._refused.get(name) != reason:
                self._log.error("Entry refused, the others go on", entry=name, reason=reason)
        self._refused = refused
        return tuple(entries)

    def read(self) -> tuple[Entry, ...]:
        """Return the entries of kinds whose classes are here.

        Raises:
            ConfigError: The file cannot be read, or a part of it is wrong: then none of it counts.
        """
        return tuple(
            self._entry(name, line, self._local[line.kind])
            for name, line in self._lines().items()
            if line.kind in self._local
        )

    async def _look(self, kind: str, find: Find) -> type[Job]:
        try:
            self._found[kind] = await find(kind)
        except UnknownKindError:
            if kind not in self._found:
                raise
        return self._found[kind]

    def _lines(self) -> dict[str, Line]:
        from duly.runtime.yamlfile import read_yaml

        try:
            return _File.model_validate(read_yaml(self._file)).entries
        except ValidationError as error:
            first, *others = explain(error, keys=outline(_File), file=str(self._file), variables={})
            raise ConfigError(
                first.path,
                first.problem,
                remedy=first.remedy,
                source=first.source,
                others=tuple(others),
            ) from None

    def _entry(self, name: str, line: Line, kind: type[Job]) -> Entry:
        options = line.model_dump(exclude={"kind", "payload"})
        return Entry(id=name, job=self._job(f"entries.{name}", line, kind), **options)

    def _job(self, place: str, line: Line, kind: type[Job]) -> Job:
        try:
            return kind.model_validate(line.payload or {})
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False, include_context=False)
            where = ".".join(map(str, wrong[0]["loc"]))
            fields = ", ".join(fields_of(kind)) or "none"
            raise ConfigError(
                f"{place}.payload" + (f".{where}" if where else ""),
                wrong[0]["msg"],
                remedy=f"fields of {line.kind}: {fields}",
                source=str(self._file),
            ) from None
