import pytest

from duly.orders.packing import packing, unpacked
from duly.runtime.packed import AFTER_ROW

KINDS = (int, str, str)
ROW = "1\x1cann\x1da@b"


def packed(*rows):
    return [len(rows), AFTER_ROW.join(rows)]


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_statement_of_the_rows_stays_as_it_is(dialect):
    statement = "SELECT 1, 'a', 'b' LIMIT ?"

    assert f"AS ({statement}) SELECT count(*)" in packing(dialect, statement, KINDS)


@pytest.mark.parametrize(("size", "more"), [(1, True), (2, False), (3, False)])
def test_a_row_more_than_a_page_says_that_there_is_another_one(size, more):
    rows, found = unpacked(packed(ROW, "2\x1cbob\x1dc@d"), size, KINDS)

    assert (list(rows), found) == ([(1, "ann", "a@b"), (2, "bob", "c@d")][:size], more)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param([2, ROW], id="row missing"),
        pytest.param([1, None], id="null"),
        pytest.param([1, b"bytes"], id="bytes"),
        pytest.param([1, "1\x1cann\x1da\x1fb"], id="separator"),
        pytest.param([1, 1, 0, 1, False, ROW], id="value missing"),
    ],
)
def test_a_text_that_is_not_all_of_the_page_is_none(row):
    assert unpacked(row, 3, KINDS) is None


@pytest.mark.parametrize(
    ("rows", "empty"),
    [
        ([ROW], False),
        ([ROW, ROW], False),
        (["1\x1c\x1da@b", ROW], True),
        ([ROW, "1\x1c\x1da@b"], True),
        (["1\x1cann\x1d", ROW], True),
        ([ROW, "1\x1cann\x1d"], True),
        (["\x1cann\x1da@b", ROW], True),
        ([ROW, "\x1cann\x1da@b"], True),
    ],
)
def test_an_empty_field_is_found_where_the_database_does_not_say(rows, empty):
    page, _ = unpacked(packed(*rows), 3, (str, str, str))

    assert page.has_empty == empty
