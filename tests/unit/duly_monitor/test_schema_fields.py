import pytest

from duly_monitor.payloads import PayloadError
from duly_monitor.schema_fields import fields_of, payload_from

SCHEMA = {
    "properties": {
        "order_id": {"type": "integer", "description": "Which."},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "rate": {"type": "number", "default": 0.5},
        "urgent": {"type": "boolean", "default": False},
        "lane": {"type": "string", "enum": ["slow", "fast"]},
        "lines": {"type": "array"},
        "odd": 7,
    },
    "required": ["order_id"],
}


def test_simple_types_have_controls_of_their_own_and_the_rest_is_json():
    fields = fields_of(SCHEMA)

    assert {field.name: field.control for field in fields} == {
        "order_id": "integer", "note": "text", "rate": "number", "urgent": "boolean",
        "lane": "choice", "lines": "json", "odd": "json",
    }  # fmt: skip
    assert [field.name for field in fields if field.required] == ["order_id"]
    assert {field.name: field.default for field in fields if field.default} == {
        "note": "null", "rate": "0.5", "urgent": "false",
    }  # fmt: skip
    assert fields[4].choices == ("slow", "fast")


@pytest.mark.parametrize("schema", [None, {}, {"properties": 7}])
def test_a_schema_that_lists_no_fields_has_none(schema):
    assert fields_of(schema) == []


def test_what_was_typed_becomes_a_payload_without_what_was_left_empty():
    values = {"order_id": "9007199254740993", "urgent": "true", "lines": '["a"]', "note": ""}

    assert payload_from(fields_of(SCHEMA), values) == {
        "order_id": 9007199254740993, "urgent": True, "lines": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("order_id", "", "order_id: type a whole number"),
        ("order_id", "seven", "order_id: type a whole number"),
        ("rate", "x", "rate: type a number"),
        ("urgent", "1", "urgent: choose true or false"),
        ("lines", "[", "lines: type JSON"),
    ],
)
def test_a_value_of_another_type_names_its_field(name, text, said):
    with pytest.raises(PayloadError, match=said):
        payload_from(fields_of(SCHEMA), {"order_id": "1", name: text})
