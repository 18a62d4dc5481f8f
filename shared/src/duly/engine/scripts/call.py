"""What a run of a Lua script is: its text, its keys, its arguments."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

Argument = bytes | str | int
Verdict = Literal[
    "retry", "archived", "completed", "quarantined", "dropped", "waiting", "scheduled"
]
_MS_PER_MINUTE = 60_000
_LUA = files("duly.engine") / "lua"
_USES = re.compile(r"^-- Uses  (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the digest by which the broker knows it."""

    name: str
    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script: all keys share the hash tag of one queue."""

    script: Script
    keys: tuple[str, ...]
    args: Sequence[Argument]


class NewTask(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """What `add` needs of one task. `due_ms` 0 means now; `lock` "" means not unique."""

    id: str
    data: bytes
    due_ms: int = 0
    lock: str = ""
    lock_ttl_ms: int = 0
    group: tuple[str, int, int, int] | None = None
    """Kind and name, grace and delay in ms (0: none), most members; None: it runs by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of one task that did not simply succeed: see settle.lua."""

    entry: bytes
    id: str
    kind: str
    verdict: Verdict
    in_ms: int = 0
    tries: str = "0 0"
    attempt: bytes = b""
    lock: str = ""
    result: bytes = b""
    outcomes: str = ""
    reason: str = ""
    """Why it is given up, for whoever is told of that; "": it is not."""


@cache
def script(name: str) -> Script:
    """Return the script `lua/<name>.lua`, behind the functions that it uses."""
    text = _with_functions((_LUA / f"{name}.lua").read_text(encoding="utf-8"), set())
    # The broker names scripts by SHA-1; nothing here relies on it being hard to forge.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _with_functions(text: str, known: set[str]) -> str:
    """Put before a text each of `lua/functions/` that its head names, and what these use."""
    uses = _USES.search(text)
    before = ""
    for name in uses[1].split() if uses else ():
        if name not in known:
            known.add(name)
            function = (_LUA / "functions" / f"{name}.lua").read_text(encoding="utf-8")
            before += _with_functions(function, known)
    return before + text


def minute_of_hour(unix_ms: int) -> int:
    """Return the minute within its hour."""
    return unix_ms // _MS_PER_MINUTE % 60
