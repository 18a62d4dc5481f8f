"""The words for what schemas speak of: the names of types, and how people write values."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

Json = Any
"""Whatever JSON can hold."""
UNREADABLE: Final = object()
"""Stands for a value that a word is not."""
EXAMPLES: Final = {
    "integer": "7", "number": "1.5", "boolean": "true", "array": '["a", "b"]',
    "object": '{"a": 1}', "null": "null",
}  # fmt: skip
NAMES: Final = {"string": "text"}
MISFIT: Final = "misfit"
"""The type of pydantic's errors whose text is ours, and quotes no value."""
_LONGEST_SHOWN = 200
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_BOOLEANS: Final = {"yes": True, "true": True, "no": False, "false": False}


def any_of(word: str) -> Json:
    """Read JSON, or text."""
    try:
        return msgspec.json.decode(word)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return word


def _number(word: str) -> Json:
    value = any_of(word)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else UNREADABLE


def _container(kind: type) -> Callable[[str], Json]:
    def read(word: str) -> Json:
        value = any_of(word)
        return value if isinstance(value, kind) else UNREADABLE

    return read


READERS: Final[Mapping[str, Callable[[str], Json]]] = {
    "string": lambda word: word,
    "integer": lambda word: int(word) if _INTEGER.fullmatch(word) else UNREADABLE,
    "number": _number,
    "boolean": lambda word: _BOOLEANS.get(word.lower(), UNREADABLE),
    "null": lambda word: None if word == "null" else UNREADABLE,
    "array": _container(list),
    "object": _container(dict),
}


def spellings(member: Json) -> tuple[str, ...]:
    """Return how a person may write a member of an enumeration."""
    if isinstance(member, bool):
        return ("true", "yes") if member else ("false", "no")
    return (member,) if isinstance(member, str) else (shown(member),)


def kind_of(value: Json) -> str:
    """Name the type of a value in words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "text"}
    return names.get(type(value), "an array" if isinstance(value, list) else "an object")


def no_field(kind: str, name: str, known: list[str]) -> str:
    """Say that a kind has no such field, and which was meant."""
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"fields: {', '.join(known) or 'none'}"
    return f"is no field of {kind} ({hint})"


def shown(value: Json) -> str:
    """Return a value as JSON, shortened."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
