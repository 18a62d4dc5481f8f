"""Lists that are read whole, page by page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duly_monitor.api.paging import part_of
from duly_monitor.bounds import PartQuery

NAMES = ["a", "b", "c", "\ud800", "ü/%"]


def key(name):
    return (name,)


def follow(items, limit, by=key):
    """Return all pages of a list."""
    pages, cursor = [], None
    while True:
        part = part_of(items, PartQuery(limit=limit, cursor=cursor), by)
        pages.append(part.items)
        cursor = part.next_cursor
        if cursor is None:
            return pages


@given(st.sets(st.tuples(st.integers(-(2**62), 2**62), st.text("abü\ud800"))), st.integers(1, 7))
def test_pages_have_everything_once_in_order(items, limit):
    pages = follow(items, limit, by=lambda item: item)

    assert [item for page in pages for item in page] == sorted(items)
    assert all(len(page) == limit for page in pages[:-1])


def test_what_comes_and_goes_meanwhile_moves_nothing():
    first = part_of(["b", "d", "f", "h"], PartQuery(limit=2), key)

    later = part_of(["a", "b", "e", "f"], PartQuery(limit=2, cursor=first.next_cursor), key)

    assert (first.items, later.items) == (["b", "d"], ["e", "f"])


@given(st.text("0123456789abcdef", max_size=40))
def test_each_cursor_is_a_place_in_each_list(cursor):
    items = [(1, "a"), (2, ""), (-7, "\ud800")]

    later = part_of(items, PartQuery(cursor=cursor), lambda item: item).items

    assert later == sorted(items)[len(items) - len(later) :]


def test_long_names_have_cursors_that_fit_into_an_address():
    names = ["x" * 1_024, "x" * 1_023 + "y", "x" * 300]
    pages = follow(names, 1)

    cursors = [part_of(names, PartQuery(limit=1), key).next_cursor]
    assert sorted(name for page in pages for name in page) == sorted(names)
    assert len(cursors[0]) <= 1_000


@pytest.mark.parametrize("cursor", ["?", "ü", "ABC", "xyz", "00 ", "f" * 1_001])
def test_other_texts_are_no_cursors(cursor):
    with pytest.raises(ValidationError):
        PartQuery(cursor=cursor)
