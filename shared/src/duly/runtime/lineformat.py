"""How a log line is written: logfmt for people, JSON for machines; always one line an event.

Both formats turn a line into a %-template and its values into texts. The single event and the
batch of rows go through the same two steps, so that their lines can not differ.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Protocol

from typing_extensions import override

_SPECIAL = re.compile(r'[ "=\\]').search
_JSON_SPECIAL = re.compile(r'["\\]').search
_NO_KEY = re.compile(r"[^A-Za-z0-9_.@/-]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_RESERVED = frozenset({"timestamp", "level", "message", "service"})
_LAST_OF_LATIN_1, _LAST_OF_BMP = 0xFF, 0xFFFF


class LineFormat(Protocol):
    """One way to write a line."""

    def template(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> str:
        """Return a %-template of a line with its newline, with a %s for each name."""

    def text(self, value: Any) -> object:  # noqa: ANN401 - whatever is logged
        """Return what stands for a value in a line: something whose `str` is safe there."""


class Logfmt(LineFormat):
    """`2026-11-25T03:00:00.123Z INFO  Message key=value`; quotes only where they are needed."""

    @override
    def template(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> str:
        """Return the template of a line."""
        head = f"{timestamp} {level:<5} {_escaped(message, quotes=False)}".replace("%", "%%")
        return head + "".join(f" {_NO_KEY.sub('_', name)}=%s" for name in names) + "\n"

    @override
    def text(self, value: Any) -> object:
        """Return what stands for a value: None is nothing at all, an empty text is ""."""
        kind = type(value)
        if kind is int:
            return value
        word = value if kind is str else _word(value)
        if word.isprintable() and not _SPECIAL(word):
            return word or ("" if value is None else '""')
        return f'"{_escaped(word)}"'


class JsonLines(LineFormat):
    """One object a line: timestamp, level, message, service, then the fields."""

    def __init__(self, service: str) -> None:
        self._service = service

    @override
    def template(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> str:
        """Return the template of a line; a field that is called like a fixed one gets a `_`."""
        fixed = {
            "timestamp": timestamp,
            "level": level,
            "message": message,
            "service": self._service,
        }
        head = ",".join(f'"{name}":{_json_string(text)}' for name, text in fixed.items())
        keys = [_json_string(f"{name}_" if name in _RESERVED else name) for name in names]
        fields = "".join(f",{key.replace('%', '%%')}:%s" for key in keys)
        return "{" + head.replace("%", "%%") + fields + "}\n"

    @override
    def text(self, value: Any) -> object:
        """Return a value's JSON; what JSON has no type for becomes a string."""
        kind = type(value)
        if kind is int:
            return value
        if kind is str:
            return _json_string(value)
        word = _word(value)
        if value is None:
            return "null"
        if isinstance(value, bool | Mapping | list | tuple | AbstractSet) or _is_number(value):
            return word
        return _json_string(word)


def _word(value: Any) -> str:  # noqa: ANN401
    """Return a value other than a plain string as text; never raise, whatever it is."""
    try:
        for kinds, write in _WORDS:
            if isinstance(value, kinds):
                return write(value)
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not break the one who logs
        return f"<unprintable {type(value).__name__}>"


def _nested(value: Any) -> str:  # noqa: ANN401
    simple: Any = dict(value) if isinstance(value, Mapping) else list(value)
    return json.dumps(simple, default=_word, skipkeys=True, separators=(",", ":"))


_WORDS: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (Decimal, "{:f}".format),
    (NoneType, lambda _: ""),
    (bool, lambda value: "true" if value else "false"),
    (float, float.__repr__),
    (timedelta, lambda value: repr(value.total_seconds())),
    (datetime, datetime.isoformat),
    (Mapping | list | tuple | AbstractSet, _nested),
)
"""How values of these types are written, in both formats."""


def _is_number(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, timedelta):
        return True
    if isinstance(value, Decimal):
        return value.is_finite()
    if isinstance(value, float):
        return value - value == 0  # neither NaN nor infinite: JSON has no words for those
    return isinstance(value, int)


def _json_string(word: str) -> str:
    if word.isprintable():
        return f'"{_escaped(word)}"' if _JSON_SPECIAL(word) else f'"{word}"'
    # Half a surrogate pair is no character: strict readers would refuse the whole line.
    sound = word.encode("utf-8", "replace").decode()
    return json.dumps(sound)


def _escaped(word: str, *, quotes: bool = True) -> str:
    """Make everything visible that would end a line, move a cursor or turn the text around."""
    if word.isprintable():
        return word.replace("\\", "\\\\").replace('"', '\\"') if quotes else word
    return "".join(
        _escape(character)
        if not character.isprintable() or (quotes and character in '"\\')
        else character
        for character in word
    )


def _escape(character: str) -> str:
    if known := _ESCAPES.get(character):
        return known
    code = ord(character)
    if code <= _LAST_OF_LATIN_1:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LAST_OF_BMP else f"\\U{code:08x}"
