"""What may be shown of payloads and errors: secrets masked by their key, sizes bearable.

A free text, such as an error or a traceback, is held to the same rules: what stands behind a key
that names a secret is masked, as are passwords of addresses, bearer tokens and e-mail addresses.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

MASK = "••••••"
SHOWN_CHARACTERS = 2_000
"""Longer payloads are cut here, as every other text of unbounded length."""

_WORDS: Final = (
    r"pass(?:word|wd|phrase)?$|pwd|secret|token|e.?mail|authori[sz]ation|cookie|credential"
    r"|api.?key|private.?key|access.?key|card.?(?:number|no)|iban|cvc|cvv|ssn|^pin$"
)
_SENSITIVE = re.compile(_WORDS, re.IGNORECASE)
_DEPTH = 32
_MOST_TEXT = 100_000
"""Characters of a free text that are looked at: what is shown is cut far below."""
_ADDRESS_PASSWORD = re.compile(r"(?<=://)([^\s/:@]{0,256}):([^\s/@]{1,256})(?=@)")
_BEARER = re.compile(r"\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_KEY = re.compile(r"""([A-Za-z][A-Za-z0-9_.-]{0,63})["']?\s{0,4}(?:=>|[=:])\s{0,4}""")
_VALUE = re.compile(
    r"""(?P<quote>["'])(?:[^"'\\\n]|\\.|(?!(?P=quote))["'])*(?P=quote)|[^\s,;&|(){}\[\]<>"']+"""
)
"""Together `key=value`, `key: value`, `'key': 'value'`, as errors quote them."""
_HINTS = re.compile(r"[=:@]|bearer |basic |eyJ", re.IGNORECASE)
_PLAIN = frozenset({"none", "null", "true", "false", "nil"})
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def mask(value: Any, *, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with everything under a sensitive key replaced by `MASK`."""
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
    return bool(_SENSITIVE.search(key)) and value is not None and not isinstance(value, bool)


def mask_text(text: str) -> str:
    """Return a free text with its secrets replaced by `MASK`: the rules of payloads, for prose."""
    text = text[:_MOST_TEXT]
    if not _HINTS.search(text):
        return text
    text = _ADDRESS_PASSWORD.sub(rf"\1:{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _JWT.sub(MASK, text)
    return _EMAIL.sub(MASK, _mask_pairs(text))


def _mask_pairs(text: str) -> str:
    """Mask the values behind sensitive keys."""
    parts, done = list[str](), 0
    key = _KEY.search(text)
    while key is not None:
        after = key.end()
        value = _VALUE.match(text, after) if _SENSITIVE.search(key[1]) else None
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
