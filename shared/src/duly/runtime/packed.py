"""Rows as one text, from which lines are made without making a row: see `lines.LineWriter`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

from typing_extensions import override

AFTER_FIELD: Final = ("\x1c", "\x1d", "\x1e")
"""What follows the first, second, … field of a row."""
AFTER_ROW: Final = "\x1f"
Kind = Callable[[str], Any]
"""Reads a field: `int`, `str` or `UUID`, of which the texts are those that a line holds."""
_SEPARATORS: Final = "".join((*AFTER_FIELD, AFTER_ROW)).encode()
_ESCAPED: Final = b' "=\\'
"""What a format of lines may write otherwise, beside what cannot be printed."""
_PLAIN: Final = bytes(code for code in range(32, 127) if code not in _ESCAPED)
_OTHER: Final = bytes(code for code in range(256) if code not in _SEPARATORS)


class PackedRows(Sequence[tuple[Any, ...]]):
    """A sequence of rows of two to four fields, which exist only where somebody looks at them.

    Args:
        text: The fields, each but a row's last one followed by the `AFTER_FIELD` of its place, and
            the rows with `AFTER_ROW` between them.
        count: Rows, as somebody counted them that did not look at the text; at least one.
        kinds: One for each field of a row.
        has_empty: Whether a field may be an empty text.

    Raises:
        ValueError: The text does not hold so many rows: a field contains a separator, or a row is
            missing.
    """

    def __init__(
        self, text: str, count: int, kinds: Sequence[Kind], *, has_empty: bool = True
    ) -> None:
        self.text, self.kinds, self.has_empty = text, tuple(kinds), has_empty
        self.separators = (*AFTER_FIELD[: len(self.kinds) - 1], AFTER_ROW)
        """What stands after each field; nothing does after the last row."""
        self._count = count
        self._rows: list[tuple[Any, ...]] | None = None
        # One look at the whole: what is not plain is what each row brings, and nothing else.
        brought = ("".join(self.separators) * count)[:-1].encode()
        rest = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
        self.is_plain = rest == brought
        """Whether all fields consist of characters that no format of lines writes otherwise."""
        if not self.is_plain and rest.translate(None, _OTHER) != brought:
            raise ValueError(f"the text does not hold {count} rows")

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._read())

    @overload
    def __getitem__(self, place: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[tuple[Any, ...]]: ...
    @override
    def __getitem__(self, place: int | slice) -> tuple[Any, ...] | Sequence[tuple[Any, ...]]:
        return self._read()[place]

    def last(self) -> tuple[Any, ...]:
        """Return the last row, without a look at the others."""
        return PackedRows(self.text.rpartition(AFTER_ROW)[2], 1, self.kinds)[0]

    def first_fields(self) -> list[str]:
        """Return the text of the first field of each row."""
        after = self.separators[0]
        return [row.partition(after)[0] for row in self.text.split(AFTER_ROW)]

    def without_separators(self) -> str:
        """Return all fields as one text."""
        text = self.text
        for separator in self.separators:
            text = text.replace(separator, "")
        return text

    def joined(self, pieces: Sequence[str]) -> str:
        """Return the fields with pieces after them: one for each of a row, and none at the end."""
        data = self.text.encode("utf-8", "surrogatepass")  # Bytes are replaced in half the time.
        for separator, piece in zip(self.separators, pieces, strict=True):
            data = data.replace(separator.encode(), piece.encode("utf-8", "surrogatepass"))
        return data.decode("utf-8", "surrogatepass")

    def _read(self) -> list[tuple[Any, ...]]:
        if self._rows is None:
            text, one = self.text, self.separators[0]
            for separator in self.separators[1:]:
                text = text.replace(separator, one)
            fields, size = text.split(one), len(self.kinds)
            columns: list[list[Any]] = [
                fields[place::size] if kind is str else [*map(kind, fields[place::size])]
                for place, kind in enumerate(self.kinds)
            ]
            self._rows = list(zip(*columns, strict=True))
        return self._rows
