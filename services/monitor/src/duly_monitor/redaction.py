"""What may be shown of payloads and errors: secrets masked by their key, sizes bearable.

A free text is held to the same rules, be it an error, a traceback or a string in a payload, a label
or a result: what stands behind a key that names a secret is masked, as are passwords of addresses,
bearer tokens and e-mail addresses.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import replace

from duly.task import Task

MASK = "••••••"
SHOWN_CHARACTERS = 2_000
"""Longer payloads are cut here, as every other text of unbounded length."""

_WORDS: Final = (
    r"pass(?:word|wd|phrase)?$|pwd|secret|token|e.?mail|authori[sz]ation|cookie|credential"
    r"|api.?key|private.?key|access.?key|card.?(?:number|no)|iban|cvc|cvv|ssn|^pin$"
)
_SENSITIVE = re.compile(_WORDS, re.IGNORECASE)
_ANY_SENSITIVE = re.compile(re.sub(r"[$^]", "", _WORDS), re.IGNORECASE)
"""Whether a text may have a sensitive key at all: it is asked before its keys are looked for."""
_DEPTH = 32
_LONG_KEY = 64
"""Characters beyond which a key is not remembered: producers choose how long they are."""
_MOST_TEXT = 100_000
"""Characters of a free text that are looked at: what is shown is cut far below."""
_ADDRESS_PASSWORD = re.compile(r"(?<=://)([^\s/:@]{0,256}):([^\s/@]{1,256})(?=@)")
_BEARER = re.compile(r"\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# This and `_KEY` begin where a run of their characters does, and give none of it back: so they are
# linear in the length of a text, which producers choose.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_KEY = re.compile(r"""(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]++)["']?\s{0,4}(?:=>|[=:])\s{0,4}""")
_VALUE = re.compile(
    r"""(?P<quote>["'])(?:[^"'\\\n]|\\.|(?!(?P=quote))["'])*(?P=quote)|[^\s,;&|(){}\[\]<>"']+"""
)
"""Together `key=value`, `key: value`, `'key': 'value'`, as errors quote them."""
_PLAIN = frozenset({"none", "null", "true", "false", "nil"})
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def mask(value: Any, *, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with everything under a sensitive key, and secrets in texts, as `MASK`.

    Texts are not cut.
    """
    if isinstance(value, str):
        return _mask_text(value)
    if depth >= _DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): MASK if _is_secret(str(key), inner) else mask(inner, depth=depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(inner, depth=depth + 1) for inner in value]
    return value


def _is_secret(key: str, value: object) -> bool:
    """Null and booleans are shown: masking them would hide nothing worth hiding."""
    return value is not None and not isinstance(value, bool) and _names_secret(key)


def _names_secret(key: str) -> bool:
    return _is_sensitive(key) if len(key) <= _LONG_KEY else bool(_SENSITIVE.search(key))


@lru_cache(2_048)
def _is_sensitive(key: str) -> bool:
    """Remembered, since the tasks of a page have the same keys over and over."""
    return bool(_SENSITIVE.search(key))


def mask_text(text: str) -> str:
    """Return a free text with its secrets replaced by `MASK`: the rules of payloads, for prose."""
    return _mask_text(text[:_MOST_TEXT])


def masked(task: Task) -> Task:
    """Return a task as it is shown, as far as searches look into it: payload and last error."""
    history = task.history
    if history:
        history = (dataclasses.replace(history[0], error=mask_text(history[0].error)), *history[1:])
    return replace(task, payload=mask(task.payload), history=history)


def _mask_text(text: str) -> str:
    """Mask the secrets of a text. Most texts are told to have none by what they do not contain."""
    at, pairs = "@" in text, "=" in text or ":" in text
    if at and "://" in text:
        text = _ADDRESS_PASSWORD.sub(rf"\1:{MASK}", text)
    lowered = text.lower()
    if "bearer " in lowered or "basic " in lowered:
        text = _BEARER.sub(rf"\1 {MASK}", text)
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    if pairs and _ANY_SENSITIVE.search(text):
        text = _mask_pairs(text)
    return _EMAIL.sub(MASK, text) if at else text


def _mask_pairs(text: str) -> str:
    """Mask the values behind sensitive keys."""
    parts, done = list[str](), 0
    key = _KEY.search(text)
    while key is not None:
        after = key.end()
        value = _VALUE.match(text, after) if _names_secret(key[1]) else None
        if value is not None and value[0].lower() not in _PLAIN:
            quote = value["quote"] or ""
            parts += [text[done:after], quote, MASK, quote]
            done = after = value.end()
        key = _KEY.search(text, after)
    return "".join([*parts, text[done:]])


def pretty(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a masked value as indented JSON of at most `SHOWN_CHARACTERS`; integers stay exact."""
    text = json.dumps(mask(value), indent=2, ensure_ascii=False, default=str)
    return isolated(_cut(text, SHOWN_CHARACTERS))


def shorten(text: str, limit: int) -> str:
    """Return a text for a page: secrets masked, cut at `limit` with a note of what is left out.

    Characters that turn the direction of what follows are spelled out, so that a hostile text
    cannot rearrange ours.
    """
    return isolated(_cut(mask_text(text), limit, len(text)))


def isolated(text: str) -> str:
    """Return a text whose marks of direction are spelled out, as JSON escapes them."""
    return _BIDI.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _cut(text: str, limit: int, length: int | None = None) -> str:
    longer = max(len(text), length if length is not None and length > _MOST_TEXT else 0) - limit
    return text if longer <= 0 else f"{text[:limit]}… ({longer:,} more characters)"
