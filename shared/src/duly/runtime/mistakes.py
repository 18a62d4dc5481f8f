"""Explains what is wrong with a configuration in the terms of the person who wrote it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from duly.errors import ConfigError
from duly.runtime.outline import ANY_NAME, Key, find

_LONGEST_VALUE = 60
_DURATIONS = "write it as 250ms, 5s, 2m, 1h or 7d"
_NAMES = "use a-z, 0-9, _, . and -, 64 characters at most"


def explain(
    error: ValidationError,
    *,
    keys: Sequence[Key],
    file: str,
    variables: Mapping[tuple[str, ...], str],
) -> list[ConfigError]:
    """Return one error for each of pydantic's, in the order of the configuration.

    Args:
        error: What pydantic found.
        keys: The outline of the settings.
        file: The source of every value that no variable gave.
        variables: Path → the variable that gave its value.
    """
    found = []
    for detail in error.errors(include_url=False):
        path = tuple(str(part) for part in detail["loc"] if part != "[key]")
        problem, remedy = _sentence(detail, path, keys)
        source = _source(path, variables) or file
        found.append(ConfigError(".".join(path), problem, remedy=remedy, source=source))
    return found


def did_you_mean(path: Sequence[str], keys: Sequence[Key]) -> str:
    """Return a remedy: the most similar key, or all keys that are valid there."""
    dotted = ".".join(path)
    section = keys_below(path[:-1], keys)
    best = get_close_matches(path[-1], section, n=1) or _displaced(path, keys)
    if best:
        return f"did you mean {'.'.join((*path[:-1], best[0])) if best[0] in section else best[0]}?"
    other = get_close_matches(dotted, [key.dotted for key in keys if not key.section], n=1)
    if other:
        return f"did you mean {other[0]}?"
    return f"known here: {', '.join(section)}" if section else ""


def keys_below(path: Sequence[str], keys: Sequence[Key]) -> list[str]:
    """Return the names of the keys directly in a section."""
    inside = [key for key in keys if len(key.path) == len(path) + 1]
    return [
        key.path[-1]
        for key in inside
        if all(a in {ANY_NAME, b} for a, b in zip(key.path, path, strict=False))
    ]


def _displaced(path: Sequence[str], keys: Sequence[Key]) -> list[str]:
    """Return a key of the same name that lives elsewhere, such as redis.port for a bare port."""
    same = [key.dotted for key in keys if key.path[-1] == path[-1] and ANY_NAME not in key.path]
    return same if len(same) == 1 else []


def _source(path: tuple[str, ...], variables: Mapping[tuple[str, ...], str]) -> str:
    """Return the variable that gave the value at a path, or the nearest section around it."""
    for length in range(len(path), 0, -1):
        if name := variables.get(path[:length]):
            return name
    return ""


def _sentence(
    detail: Mapping[str, Any], path: tuple[str, ...], keys: Sequence[Key]
) -> tuple[str, str]:
    key, kind = find(keys, path), detail["type"]
    if kind == "extra_forbidden":
        return "unknown key", did_you_mean(path, keys)
    if key is None or key.section or kind == "missing":
        return _about_section(detail, key)
    # What an application keeps in its own section may be secret whatever its type.
    value = "the value" if key.secret or path[0] == "settings" else _shown(detail.get("input"))
    if kind == "value_error":
        return f"{value} {detail['ctx']['error']}", ""
    if key.kind is timedelta:
        short = kind.startswith("greater_than")
        return f"{value} is {'too short' if short else 'not a duration'}", _DURATIONS
    problem = detail["msg"].replace("Input", value, 1).replace("String", value, 1)
    return problem, _remedy(detail, key)


def _about_section(detail: Mapping[str, Any], key: Key | None) -> tuple[str, str]:
    if detail["type"] == "string_pattern_mismatch":
        return "not a valid name", _NAMES
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]), ""
    if detail["type"] == "missing":
        return "is required", "" if key is None else str(key.field.description or "")
    inside = "" if key is None else f"indent its keys below {key.path[-1]}:"
    return "a section of keys is expected here, not a value", inside


def _remedy(detail: Mapping[str, Any], key: Key) -> str:
    if detail["type"] == "string_type":
        return f'put it in quotes: {key.path[-1]}: "…"'
    if detail["type"] == "literal_error":
        choices = [word.strip("'") for word in _words(detail["ctx"]["expected"])]
        close = get_close_matches(str(detail.get("input")).lower(), map(str.lower, choices), n=1)
        exact = [choice for choice in choices if close and choice.lower() == close[0]]
        return f"did you mean {exact[0]}?" if exact else ""
    return ""


def _words(expected: str) -> Iterable[str]:
    return expected.replace(" or ", ", ").split(", ")


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever the file holds
    text = repr(value)
    if "@" in text or "://" in text:
        return "the value"  # A URL in the wrong place may hold a password.
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
