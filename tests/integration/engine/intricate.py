"""A job whose fields need care on their way, and what runs it: also imported by processes."""

from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Json, computed_field

from duly.job import Job


class Colour(Enum):
    """Strict jobs take a member in Python, and its value in JSON."""

    RED = "red"


class Line(BaseModel):
    """Part of a job."""

    model_config = ConfigDict(strict=True)

    colour: Colour
    size: tuple[int, int]


class Intricate(Job, kind="intricate"):
    """Strict types, aliases, unions and `Any`."""

    model_config = ConfigDict(strict=True)

    key: UUID
    day: date
    lines: list[Line]
    tags: frozenset[str]
    number: int = Field(validation_alias=AliasChoices("Number", "no"))
    either: int | str
    rest: dict[str, Any]
    raw: Json[list[int]]

    @computed_field
    @property
    def double(self) -> int:
        """Computed on both sides."""
        return 2 * self.number


def example() -> Intricate:
    """Return one."""
    return Intricate(
        key=UUID(int=7),
        day=date(2026, 1, 5),
        lines=[Line(colour=Colour.RED, size=(1, 2))],
        tags=frozenset({"a", "b", "c"}),
        Number=3,
        either="7",
        rest={"a": [1, None, {"b": 1.5}]},
        raw="[1,2]",
    )


def echo(job: Intricate, _: object) -> str:
    """Return what came."""
    return repr(job == example())
