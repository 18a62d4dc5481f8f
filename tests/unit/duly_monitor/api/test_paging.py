"""Lists that are read whole, page by page."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

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


@given(st.sets(st.tuples(st.integers(), st.text())), st.integers(1, 7))
def test_pages_have_everything_once_in_order(items, limit):
    pages = follow(items, limit, by=lambda item: item)

    assert [item for page in pages for item in page] == sorted(items)
    assert all(len(page) == limit for page in pages[:-1])


def test_what_comes_and_goes_meanwhile_moves_nothing():
    first = part_of(["b", "d", "f", "h"], PartQuery(limit=2), key)

    later = part_of(["a", "b", "e", "f"], PartQuery(limit=2, cursor=first.next_cursor), key)

    assert (first.items, later.items) == (["b", "d"], ["e", "f"])


def _cursor(found):
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["", "?", "ü", "\ud800", "e30", "[1", _cursor([1]), _cursor([[1]]), _cursor({"a": 1}),
     _cursor([True]), _cursor([None]), "W1tb" * 2_000],
)  # fmt: skip
def test_other_texts_are_no_cursors(cursor):
    with pytest.raises(HTTPException) as error:
        part_of(NAMES, PartQuery.model_construct(limit=2, cursor=cursor), key)

    assert error.value.status_code == 400
