"""Entries out of a YAML file, such as a mounted ConfigMap: read again and again, while it runs."""

import asyncio
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from duly.errors import ConfigError, UnknownKindError
from duly.job import Job
from duly.jobs import job_class
from duly.runtime.mistakes import explain
from duly.runtime.outline import outline
from duly.runtime.settings import Duration, QueueName, Section
from duly.runtime.yamlfile import read_yaml
from duly.schedule import CatchUp, Entry, Overlap


class Line(Section):
    """One entry of the file: a job of the catalogue, and when it is due."""

    kind: str = Field(description="kind of the job")
    payload: Any = Field(None, description="its fields")
    interval: Duration | None = Field(None, description="how often it is due")
    cron: str | None = Field(None, description="or when: minute hour day month weekday")
    timezone: str = Field("UTC", description="IANA name of the zone that cron is read in")
    queue: QueueName | None = Field(None, description="empty: the queue of the job's policy")
    overlap: Overlap = Field(Overlap.SKIP, description="skip, queue_one or allow")
    catch_up: CatchUp = Field(CatchUp.SKIP, description="skip, one or all")
    catch_up_limit: int = Field(100, description="missed slots that catch_up: all makes up for")
    paused: bool = Field(default=False, description="let its ticks pass without a task")


class _File(Section):
    entries: dict[str, Line] = Field(default_factory=dict, description="id of an entry → the entry")


class EntriesFile:
    """A provider of entries: everything that the file says now."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def __call__(self) -> tuple[Entry, ...]:
        """Read the file without holding up the loop; raises as `read` does."""
        return await asyncio.to_thread(self.read)

    def read(self) -> tuple[Entry, ...]:
        """Return the entries.

        Raises:
            ConfigError: The file can not be read, or some of it is wrong: then none of it counts.
        """
        try:
            content = _File.model_validate(read_yaml(self._file))
        except ValidationError as error:
            first, *others = explain(error, keys=outline(_File), file=str(self._file), variables={})
            raise ConfigError(
                first.path,
                first.problem,
                remedy=first.remedy,
                source=first.source,
                others=tuple(others),
            ) from None
        return tuple(self._entry(name, line) for name, line in content.entries.items())

    def _entry(self, name: str, line: Line) -> Entry:
        options = line.model_dump(exclude={"kind", "payload"})
        return Entry(id=name, job=self._job(f"entries.{name}", line), **options)

    def _job(self, place: str, line: Line) -> Job:
        try:
            kind = job_class(line.kind)
            return kind.model_validate(line.payload or {})
        except UnknownKindError as error:
            raise ConfigError(f"{place}.kind", str(error), source=str(self._file)) from None
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False, include_context=False)
            where = ".".join(map(str, wrong[0]["loc"]))
            fields = ", ".join(kind.model_fields) or "none"
            raise ConfigError(
                f"{place}.payload" + (f".{where}" if where else ""),
                wrong[0]["msg"],
                remedy=f"fields of {line.kind}: {fields}",
                source=str(self._file),
            ) from None
