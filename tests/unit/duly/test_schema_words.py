"""The words for what schemas speak of."""

import pytest

from duly.schema_words import READERS, UNREADABLE, any_of, kind_of, no_field, shown, spellings


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "a boolean"), (1, "an integer"), (1.5, "a number"), ("", "text"),
     ([], "an array"), ({}, "an object")],
)  # fmt: skip
def test_every_type_of_json_has_a_name(value, name):
    assert kind_of(value) == name


def test_a_number_with_too_many_digits_is_none():
    assert READERS["integer"]("9" * 5_000) is UNREADABLE


def test_what_is_no_json_is_text():
    assert any_of("{") == "{"
    assert any_of("\udc80") == "\udc80"


def test_a_field_that_is_not_there_is_told_with_those_that_are():
    assert no_field("a", "zzz", ["order_id"]) == "is no field of a (fields: order_id)"
    assert no_field("a", "x", []) == "is no field of a (fields: none)"


def test_members_are_written_as_people_do():
    assert spellings(True) == ("true", "yes")
    assert spellings("a") == ("a",)
    assert spellings(None) == ("null",)


def test_long_values_are_shortened():
    assert len(shown("x" * 1_000)) == 201
