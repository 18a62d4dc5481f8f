"""Whether a value that went through JSON is still the same, and a form of sets that is."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from typing import Any

import msgspec
from pydantic import BaseModel

_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)


def difference(sent: object, arrived: object, path: str = "") -> tuple[str, str] | None:
    """Return where two values differ, as ("items.0.price", what is wrong there); None: nowhere.

    Two values are the same when their types are, and what they hold is. Private attributes and
    cached properties of models are not looked at, nor is the name of a time zone: an instant
    keeps its offset. What is wrong is told without the values.
    """
    if type(sent) is not type(arrived):
        was, would_be = type(sent).__name__, type(arrived).__name__
        return path, f"is a {was} and would arrive as a {would_be}"
    if isinstance(sent, (*_SEQUENCES, Mapping)) or _members(sent) is not None:
        return _within(sent, arrived, path)
    return None if _same(sent, arrived) else (path, "would arrive as another value")


def _within(sent: Any, arrived: Any, path: str) -> tuple[str, str] | None:  # noqa: ANN401
    """Compare containers of one type, part by part."""
    mine, theirs = list(_parts(sent)), list(_parts(arrived))
    for name, _ in theirs[len(mine) :]:
        return _join(path, name), "would arrive although it was not sent"
    for place, (name, value) in enumerate(mine):
        if place >= len(theirs):
            return _join(path, name), "would not arrive"
        other, counterpart = theirs[place]
        if type(name) is not type(other) or name != other:
            return _join(path, name), "has a key that would arrive as another one"
        if found := difference(value, counterpart, _join(path, name)):
            return found
    return None


def _parts(whole: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    if isinstance(whole, _SEQUENCES):
        return iter(enumerate(whole))
    return iter((whole if isinstance(whole, Mapping) else _members(whole) or {}).items())


def _members(whole: object) -> dict[str, Any] | None:
    """Return the fields of a model or a dataclass; None for anything else."""
    if isinstance(whole, BaseModel):
        names = type(whole).model_fields
        return {name: getattr(whole, name, None) for name in names} | (whole.model_extra or {})
    if is_dataclass(whole) and not isinstance(whole, type):
        return {field.name: getattr(whole, field.name, None) for field in fields(whole)}
    return None


def _same(sent: Any, arrived: Any) -> bool:  # noqa: ANN401
    """Compare two values of one type that have no parts, or parts without an order."""
    if isinstance(sent, _SETS):
        # 1, True and 1.0 are equal, and not the same.
        return {(type(item), item) for item in sent} == {(type(item), item) for item in arrived}
    if isinstance(sent, datetime | time):
        # Not `==`: of instants in an hour that comes twice it says that none is equal.
        unzoned = sent.replace(tzinfo=None) == arrived.replace(tzinfo=None)
        return bool(unzoned and sent.utcoffset() == arrived.utcoffset())
    if isinstance(sent, float) and sent != sent:  # noqa: PLR0124 - NaN
        return bool(arrived != arrived)  # noqa: PLR0124
    return bool(sent == arrived)


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def in_order(value: object, written: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what was written of a value, with the items of sets in the order of their JSON.

    The order of a set depends on the process; what stands for it must not.
    """
    if isinstance(written, list) and isinstance(value, (*_SEQUENCES, *_SETS)):
        if len(value) != len(written):
            return written
        items = [in_order(*pair) for pair in zip(value, written, strict=True)]
        return sorted(items, key=_json) if isinstance(value, _SETS) else items
    if isinstance(written, dict):
        if isinstance(value, Mapping) and len(value) == len(written):
            names = zip(written, value.values(), strict=True)
            return {name: in_order(part, written[name]) for name, part in names}
        if members := _members(value):
            return {name: in_order(members.get(name), part) for name, part in written.items()}
    return written


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")
