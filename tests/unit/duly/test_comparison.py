from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from duly.comparison import difference, in_order


class Box(BaseModel):
    items: list[object] = []


@pytest.mark.parametrize(
    ("sent", "arrived", "where"),
    [
        (1, True, ""),
        (1, 1.0, ""),
        ({1}, {True}, ""),
        ([1, 2], [1], "1"),
        ([1], [1, 2], "1"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a.0.b"),
        ({1: "a"}, {"1": "a"}, "1"),
        (Box(items=[1]), Box(items=["1"]), "items.0"),
    ],
)
def test_a_difference_is_named_by_its_place(sent, arrived, where):
    found = difference(sent, arrived)

    assert found is not None
    assert found[0] == where


@pytest.mark.parametrize(
    "value",
    [None, 1.5, float("nan"), "a", [1, (2, {3})], {"a": None}, Box(items=[1]), datetime.now(UTC)],
)
def test_what_is_the_same_has_none(value):
    assert difference(value, value) is None


def test_only_what_stands_for_a_set_is_sorted():
    value = {"list": [3, 1], "set": {3, 1}, "deep": [frozenset({"b", "a"})]}
    written = {"list": [3, 1], "set": list({3, 1})[::-1], "deep": [["b", "a"]]}

    assert in_order(value, written) == {"list": [3, 1], "set": [1, 3], "deep": [["a", "b"]]}
