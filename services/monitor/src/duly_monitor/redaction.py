"""What of a payload may be shown: secrets masked by their key, the rest cut to a bearable size."""

import json
import re
from collections.abc import Mapping
from typing import Any

MASK = "••••••"
SHOWN_CHARACTERS = 2_000
"""Longer payloads are cut here, as every other text of unbounded length."""

_SENSITIVE = re.compile(
    r"pass(word|wd|phrase)?$|pwd|secret|token|e.?mail|authori[sz]ation|cookie|credential"
    r"|api.?key|private.?key|access.?key|card.?(number|no)|iban|cvc|cvv|ssn|^pin$",
    re.IGNORECASE,
)
_DEPTH = 32


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
    """Nothing is hidden by masking null or a switch, and something is told by showing it."""
    return bool(_SENSITIVE.search(key)) and value is not None and not isinstance(value, bool)


def pretty(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a masked value as indented JSON of at most `SHOWN_CHARACTERS`; integers stay exact."""
    text = json.dumps(mask(value), indent=2, ensure_ascii=False, default=str)
    return shorten(text, SHOWN_CHARACTERS)


def shorten(text: str, limit: int) -> str:
    """Return the text, cut at `limit` characters with a note of how much is left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"
