from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.runtime.packed import AFTER_FIELD, AFTER_ROW, PackedRows

KINDS = (int, str, str)
TEXTS = st.one_of(st.text(max_size=6), st.text("\x1c\x1d\x1e\x1f a", max_size=6))


def pack(rows):
    return AFTER_ROW.join(
        f"{number}{AFTER_FIELD[0]}{name}{AFTER_FIELD[1]}{note}" for number, name, note in rows
    )


@given(st.lists(st.tuples(st.integers(), TEXTS, TEXTS), min_size=1, max_size=8))
def test_rows_come_back_or_are_refused(rows):
    marks = (*AFTER_FIELD, AFTER_ROW)
    if any(mark in text for row in rows for text in row[1:] for mark in marks):
        with pytest.raises(ValueError, match="does not hold"):
            PackedRows(pack(rows), len(rows), KINDS)
        return

    packed = PackedRows(pack(rows), len(rows), KINDS)

    assert list(packed) == rows
    assert (len(packed), packed[0], packed[1:]) == (len(rows), rows[0], rows[1:])
    assert packed.last() == rows[-1]
    assert packed.first_fields() == [str(row[0]) for row in rows]


def test_a_missing_row_is_noticed():
    with pytest.raises(ValueError, match="does not hold 3 rows"):
        PackedRows(pack([(1, "a", "b"), (2, "c", "d")]), 3, KINDS)


def test_fields_are_read_by_their_kind():
    order_id = UUID("00000000-0000-4000-8000-000000000001")

    packed = PackedRows(f"{order_id}{AFTER_FIELD[0]}2", 1, (UUID, int))

    assert list(packed) == [(order_id, 2)]


@pytest.mark.parametrize(
    ("name", "plain"), [("ann", True), ("a b", False), ('"', False), ("\x7f", False), ("é", False)]
)
def test_plain_is_what_no_format_writes_otherwise(name, plain):
    packed = PackedRows(pack([(1, name, "x"), (2, "bob", "y")]), 2, KINDS)

    assert packed.is_plain is plain
    assert packed.without_separators() == f"1{name}x2boby"


def test_pieces_stand_in_the_place_of_separators():
    packed = PackedRows(pack([(1, "é", "x"), (2, "bob", "y")]), 2, KINDS)

    assert packed.joined(["-", "+", "\n€"]) == "1-é+x\n€2-bob+y"
