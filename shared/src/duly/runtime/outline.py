"""The outline of a settings class: every key it may hold, with its place, type and meaning."""

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

ANY_NAME = "<name>"
"""Stands for the name of any queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the configuration, or a section of keys."""

    path: tuple[str, ...]
    kind: Any
    """Its type, without `None`."""
    optional: bool = False
    section: bool = False
    """It has keys below it."""
    open: bool = False
    """Whoever reads it alone knows which."""
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The path as people write it: `redis.port`."""
        return ".".join(self.path)

    @property
    def secret(self) -> bool:
        """Whether its value must never be shown."""
        return self.kind is SecretStr

    @property
    def several(self) -> bool:
        """Whether it is a list of values."""
        return get_origin(self.kind) in {tuple, list}

    @property
    def removable(self) -> bool:
        """Whether `null` removes it: a default queue."""
        return self.path[-1] == ANY_NAME

    def matches(self, path: Sequence[str]) -> bool:
        """Return whether `path` leads here, whatever the queue is called."""
        if self.open and len(path) > len(self.path):
            return self.matches(path[: len(self.path)])
        return len(path) == len(self.path) and all(
            mine in {ANY_NAME, given} for mine, given in zip(self.path, path, strict=True)
        )


def outline(cls: type[BaseModel], above: tuple[str, ...] = ()) -> tuple[Key, ...]:
    """Return the keys of a settings class in order, each section before its own keys."""
    keys: list[Key] = []
    for name, field in cls.model_fields.items():
        keys += _walk((*above, field.alias or name), field.annotation, field)
    return tuple(keys)


def find(keys: Sequence[Key], path: Sequence[str]) -> Key | None:
    """Return the key that `path` leads to, or None."""
    return next((key for key in keys if key.matches(path)), None)


def _walk(path: tuple[str, ...], annotation: Any, field: FieldInfo) -> list[Key]:  # noqa: ANN401
    kind, optional = _without_none(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        here = Key(path=path, kind=kind, optional=optional, section=True, field=field)
        return [here, *outline(kind, path)]
    if kind is Any:
        return [Key(path=path, kind=kind, section=True, open=True, field=field)]
    if get_origin(kind) is dict:
        here = Key(path=path, kind=kind, optional=optional, section=True, field=field)
        return [here, *_walk((*path, ANY_NAME), get_args(kind)[1], field)]
    return [Key(path=path, kind=kind, optional=optional, field=field)]


def _without_none(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - types are values here
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        others = [part for part in get_args(annotation) if part is not types.NoneType]
        kind = _without_none(others[0])[0] if len(others) == 1 else typing.Union[tuple(others)]  # noqa: UP007
        return kind, len(others) < len(get_args(annotation))
    return annotation, False
