"""The formats of a log line: logfmt for people, JSON for machines; one line for each event.

Both formats make the pieces of a line between its values, and texts of the values. Single events
and batches of rows use the same two steps, so that their lines cannot differ.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Protocol

from typing_extensions import override

from duly.encodable import encodable
from duly.runtime.packed import PackedRows

_SPECIAL = re.compile(r'[ "=\\]').search
_JSON_SPECIAL = re.compile(r'["\\]').search
_NO_KEY = re.compile(r"[^A-Za-z0-9_.@/-]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_RESERVED = frozenset({"timestamp", "level", "message", "service"})
_CONTROLS: Final = bytes((*range(32), 127))
_JSON, _LOGFMT = '"\\', '"\\ ='
"""What a text of this format cannot hold as it is, beside what cannot be printed."""
_UNPRINTABLE: Final = "<unprintable "
_DEEPEST: Final = 20
"""Values in one another that are written: no structure of a line is deeper."""
_LAST_OF_LATIN_1, _LAST_OF_BMP = 0xFF, 0xFFFF


@dataclass(frozen=True, slots=True)
class Column:
    """The texts of the values of one field, of many rows."""

    texts: Sequence[object]
    quote: str = ""
    """What stands on both sides of each text."""


class LineFormat(Protocol):
    """One format of lines."""

    def pieces(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> list[str]:
        """Return what stands before, between and after the values; the last ends in a newline."""

    def text(self, value: Any) -> object:  # noqa: ANN401 - whatever is logged
        """Return the representation of a value, whose `str` is safe in a line."""

    def column(self, values: Sequence[Any]) -> Column:
        """Return what `text` returns of each value: faster for many of one type."""

    def quotes(self, rows: PackedRows) -> Sequence[str] | None:
        """Return what stands on both sides of each field where all texts stand as they are.

        None: some do not, and have to be formed one by one.
        """


class Logfmt(LineFormat):
    """`2026-11-25T03:00:00.123Z INFO  Message key=value`; quotes only where they are needed."""

    @override
    def pieces(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> list[str]:
        """Return the fixed parts of a line."""
        parts = [f"{timestamp} {level:<5} {_escaped(message, quotes=False)}"]
        for name in names:
            parts[-1] += f" {_NO_KEY.sub('_', name)}="
            parts.append("")
        parts[-1] += "\n"
        return parts

    @override
    def text(self, value: Any) -> object:
        """Return the representation of a value: nothing for None, "" for an empty text."""
        kind = type(value)
        if kind is int:
            return value
        word = value if kind is str else word_of(value)
        if word.isprintable() and not _SPECIAL(word):
            return word or ("" if value is None else '""')
        return f'"{_escaped(word)}"'

    @override
    def column(self, values: Sequence[Any]) -> Column:
        """Return the representations of many values."""
        kinds = set(map(type, values))
        if kinds == {int} or (kinds == {str} and all(values) and _are_plain(values, _LOGFMT)):
            return Column(values)
        return Column(_each(self.text, values, kinds))

    @override
    def quotes(self, rows: PackedRows) -> Sequence[str] | None:
        """Return none for each field."""
        if rows.has_empty or not _hold_plain(rows, _LOGFMT):
            return None
        return [""] * len(rows.kinds)


class JsonLines(LineFormat):
    """One object a line: timestamp, level, message, service, then the fields."""

    def __init__(self, service: str) -> None:
        self._service = service

    @override
    def pieces(self, timestamp: str, level: str, message: str, names: Sequence[str]) -> list[str]:
        """Return the fixed parts of a line; a field named like a fixed one gets a `_`."""
        fixed = {
            "timestamp": timestamp,
            "level": level,
            "message": message,
            "service": self._service,
        }
        parts = ["{" + ",".join(f'"{name}":{_json_string(text)}' for name, text in fixed.items())]
        for name in names:
            parts[-1] += f",{_json_string(f'{name}_' if name in _RESERVED else name)}:"
            parts.append("")
        parts[-1] += "}\n"
        return parts

    @override
    def text(self, value: Any) -> object:
        """Return the JSON of a value; a type that JSON lacks becomes a string."""
        kind = type(value)
        if kind is int:
            return value
        if kind is str:
            return _json_string(value)
        word = word_of(value)
        if value is None:
            return "null"
        is_json = isinstance(value, bool | Mapping | list | tuple | AbstractSet)
        if (is_json or _is_number(value)) and not word.startswith(_UNPRINTABLE):
            return word
        return _json_string(word)

    @override
    def column(self, values: Sequence[Any]) -> Column:
        """Return the representations of many values."""
        kinds = set(map(type, values))
        if kinds == {int}:
            return Column(values)
        if kinds == {str} and _are_plain(values, _JSON):
            return Column(values, '"')
        return Column(_each(self.text, values, kinds))

    @override
    def quotes(self, rows: PackedRows) -> Sequence[str] | None:
        """Return those of texts; a number has none."""
        if not _hold_plain(rows, _JSON):
            return None
        return ["" if kind is int else '"' for kind in rows.kinds]


def _hold_plain(rows: PackedRows, special: str) -> bool:
    """Return whether no field needs quotes or an escape."""
    return rows.is_plain or _are_plain([rows.without_separators()], special)


def _are_plain(values: Sequence[str], special: str) -> bool:
    """Return whether no text needs quotes or an escape: one look at all of them together."""
    whole = "".join(values)
    if not whole.isascii():
        return whole.isprintable() and not any(map(whole.__contains__, special))
    # Several times as fast as `isprintable`, and for most shops' data it is enough.
    data = whole.encode("ascii")
    return len(data.translate(None, _CONTROLS + special.encode())) == len(data)


def _each(text: Callable[[Any], object], values: Sequence[Any], kinds: set[type]) -> list[object]:
    """Return the text of each value, formed once where few of them differ."""
    # Two decimals that are equal may be written otherwise: 1.0 and 1.00. Others may have no hash.
    keys: Sequence[Any] = values if kinds == {str} else list(map(id, values))
    different = dict(zip(keys, values, strict=True))
    if len(different) * 4 > len(values):
        return list(map(text, values))
    known = {key: text(value) for key, value in different.items()}
    return list(map(known.__getitem__, keys))


def word_of(value: Any) -> str:  # noqa: ANN401
    """Return any value other than a plain string as text; never raise."""
    try:
        for kinds, write in _WORDS:
            if isinstance(value, kinds):
                return write(value)
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not break its logger
        return f"{_UNPRINTABLE}{type(value).__name__}>"


def _nested(value: Any) -> str:  # noqa: ANN401
    simple = _simple(value, ())
    return json.dumps(simple, skipkeys=True, allow_nan=False, separators=(",", ":"))


def _simple(value: Any, around: tuple[int, ...]) -> Any:  # noqa: ANN401
    """Return what of a value JSON can say.

    Args:
        value: Anything.
        around: The identities of what it is in.
    """
    if value is None or isinstance(value, int) or (isinstance(value, float) and _is_number(value)):
        return value
    if not isinstance(value, Mapping | list | tuple | AbstractSet):
        return encodable(value if isinstance(value, str) else word_of(value))
    if id(value) in around or len(around) >= _DEEPEST:
        return "<itself>" if id(value) in around else "<too deep>"
    inside = (*around, id(value))
    if isinstance(value, Mapping):
        # Keys of other types than text are JSON's matter.
        return {
            _simple(key, inside) if isinstance(key, str | float) else key: _simple(each, inside)
            for key, each in value.items()
        }
    return [_simple(each, inside) for each in value]


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
        return value - value == 0  # neither NaN nor infinite, which JSON lacks
    return isinstance(value, int)


def _json_string(word: str) -> str:
    if word.isprintable():
        return f'"{_escaped(word)}"' if _JSON_SPECIAL(word) else f'"{word}"'
    # A lone surrogate is invalid: strict readers would refuse the whole line.
    return json.dumps(encodable(word))


def _escaped(word: str, *, quotes: bool = True) -> str:
    """Escape everything that ends a line, moves a cursor or reverses the text."""
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
