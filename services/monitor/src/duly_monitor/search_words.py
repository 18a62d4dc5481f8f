"""The words of a search: `kind:send_invoice error:"connection refused" since:2h`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from duly.engine.inspection.search import SEARCHED, Query
from duly.errors import DulyError
from duly.job import NAME_PATTERN
from duly.runtime.durations import parse_duration
from duly.task import TaskState
from duly_monitor.redaction import masked

MOST_CHARACTERS: Final = 1_000
KEYS: Final = (
    "queue",
    "kind",
    "state",
    "id",
    "error",
    "group",
    "args.…",
    "since",
    "until",
    "cause",
)
_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
_KEYED = re.compile(r"([a-z_]+(?:\.[^:\"]+)?):(.*)", re.DOTALL | re.IGNORECASE)
_NAME = re.compile(NAME_PATTERN)
_CAUSE = re.compile(r"[0-9a-f]{16}")
_Name = TypeVar("_Name", bound=str)


class SearchSyntaxError(DulyError):
    """A word of a search cannot be understood."""

    def __init__(self, word: str, problem: str, remedy: str) -> None:
        self.word, self.problem, self.remedy = word, problem, remedy
        super().__init__(f"{word!r:.120}: {problem}: {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search that has been understood."""

    text: str
    """As it was typed."""
    query: Query
    lone: str = ""
    """The one word without a key, where there is nothing else: it may be an id."""


@dataclass(slots=True)
class _Heard:
    """What the words so far have said."""

    once: dict[str, Any] = field(default_factory=dict)
    queues: list[str] = field(default_factory=list)
    states: list[TaskState] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)


def understand(text: str, now: datetime) -> Search:
    """Return what a search means. It finds nothing by what pages mask.

    Args:
        text: Its words. Those without a key are looked for in ids, kinds and errors.
        now: The instant that `since:2h` counts from.

    Raises:
        SearchSyntaxError: Names the word, and what to write instead.
    """
    if len(text) > MOST_CHARACTERS:
        problem = f"has more than {MOST_CHARACTERS:,} characters"
        raise SearchSyntaxError(text[:40], problem, "search for less")
    heard = _Heard()
    for word in _TOKEN.findall(text):
        if word.count('"') % 2:
            raise SearchSyntaxError(word, "the quote is not closed", 'put a " at its end')
        _hear(heard, word, now)
    once = heard.once
    query = Query(
        queues=tuple(dict.fromkeys(heard.queues)),
        states=tuple(dict.fromkeys(heard.states)) or SEARCHED,
        id=once.get("id", ""),
        as_shown=masked,
        kind=once.get("kind", ""),
        error=once.get("error", ""),
        cause=once.get("cause", ""),
        group=once.get("group", ""),
        text=" ".join(heard.bare),
        fields=heard.fields,
        since=once.get("since"),
        until=once.get("until"),
    )
    alone = not (once or heard.queues or heard.states or heard.fields) and len(heard.bare) == 1
    return Search(text=text.strip(), query=query, lone=heard.bare[0] if alone else "")


def _hear(heard: _Heard, word: str, now: datetime) -> None:
    keyed = None if word.startswith('"') else _KEYED.fullmatch(word)
    if keyed is None:
        heard.bare.append(word.replace('"', ""))
        return
    key, value = keyed[1], keyed[2].replace('"', "")
    if not value:
        raise SearchSyntaxError(word, "the value is missing", f"write {key}:value")
    lowered = key.lower()
    if lowered.startswith("args."):
        heard.fields[key[5:]] = value
    elif lowered == "queue":
        queues = [_queue(word, name) for name in value.split(",")]
        heard.queues = _both(word, heard.queues, queues)
    elif lowered == "state":
        states = [_state(word, name) for name in value.split(",")]
        heard.states = _both(word, heard.states, states)
    elif lowered not in _ONCE:
        remedy = f'use one of {", ".join(KEYS)}, or quote it to look for the text: "{word}"'
        raise SearchSyntaxError(word, f"there is no key {key}", remedy)
    elif lowered in heard.once:
        raise SearchSyntaxError(word, f"{key} is there twice", "leave one of them out")
    else:
        heard.once[lowered] = _ONCE[lowered](word, value, now)


def _both(word: str, before: list[_Name], named: list[_Name]) -> list[_Name]:
    """Return which of the names may still be, where an earlier word has named some, too."""
    kept = [name for name in named if name in before] if before else named
    if not kept:
        problem = f"the list, or a word before it, says {', '.join(before)} already"
        remedy = "leave one of them out, or search everywhere; commas name several at once"
        raise SearchSyntaxError(word, problem, remedy)
    return kept


def _text(_word: str, value: str, _now: datetime) -> str:
    return value


def _queue(word: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        remedy = "use 1 to 64 of a-z, 0-9, '_', '.' and '-'"
        raise SearchSyntaxError(word, f"{name!r:.80} is not the name of a queue", remedy)
    return name


def _state(word: str, name: str) -> TaskState:
    try:
        return TaskState(name.lower())
    except ValueError:
        remedy = f"use one of {', '.join(TaskState)}"
        raise SearchSyntaxError(word, f"{name!r:.80} is not a state", remedy) from None


def _cause(word: str, value: str, _now: datetime) -> str:
    if not _CAUSE.fullmatch(value):
        remedy = "take it from the page of failures"
        raise SearchSyntaxError(word, "a cause has 16 hexadecimal digits", remedy)
    return value


def _instant(word: str, value: str, now: datetime) -> datetime:
    span = parse_duration(value) if value[-1:].isalpha() else None
    try:
        if isinstance(span, timedelta):
            return now - span
        instant = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        remedy = "use 2h for two hours ago (s, m, h, d), or 2026-01-31T12:00 in UTC"
        raise SearchSyntaxError(word, "this is not a time", remedy) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


_ONCE: Final[Mapping[str, Callable[[str, str, datetime], Any]]] = {
    "kind": _text,
    "id": _text,
    "error": _text,
    "group": _text,
    "cause": _cause,
    "since": _instant,
    "until": _instant,
}
"""Keys that a search may hold once → how to read their value."""


def said(text: str, *, queues: Sequence[str] = (), states: Sequence[TaskState] = ()) -> str:
    """Return a search in words that looks only in the queues and states of a page, too."""
    more = [f"queue:{name}" for name in queues] + [f"state:{state.value}" for state in states]
    return " ".join([*more, text.strip()]).strip()
