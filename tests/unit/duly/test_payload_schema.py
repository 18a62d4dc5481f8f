"""A payload by its JSON schema."""

import pytest

from duly.payload_schema import MisfitError, PayloadSchema, SchemaUnreadableError

SCHEMA = {
    "type": "object",
    "$defs": {
        "Colour": {"enum": ["red", "blue"], "type": "string"},
        "Item": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 1}},
            "required": ["sku"],
        },
    },
    "properties": {
        "n": {"type": "integer", "minimum": 1},
        "total": {"type": "string"},
        "real": {"type": "number"},
        "flag": {"type": "boolean"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "text_first": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "string"}]},
        "colour": {"$ref": "#/$defs/Colour", "default": "red", "description": "of the\nbox"},
        "level": {"enum": [1, 2, True, None]},
        "item": {"$ref": "#/$defs/Item"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        "any": {},
    },
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture
def schema():
    return PayloadSchema("box", SCHEMA)


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("n", "5", 5),
        ("n", "-5", -5),
        ("n", "5.0", "5.0"),
        ("n", "five", "five"),
        ("total", "12.50", "12.50"),
        ("total", "null", "null"),
        ("total", '"x"', '"x"'),
        ("real", "1e3", 1000.0),
        ("real", "3", 3),
        ("real", "true", "true"),
        ("flag", "yes", True),
        ("flag", "No", False),
        ("flag", "true", True),
        ("flag", "1", "1"),
        ("maybe", "null", None),
        ("maybe", "7", 7),
        ("maybe", "x", "x"),
        ("either", "7", 7),
        ("either", "seven", "seven"),
        ("text_first", "7", "7"),
        ("when", "2026-01-02", "2026-01-02"),
        ("when", "soon", "soon"),
        ("colour", "blue", "blue"),
        ("colour", "green", "green"),
        ("level", "2", 2),
        ("level", "true", True),
        ("level", "null", None),
        ("item", '{"sku": "a"}', {"sku": "a"}),
        ("item", "a", "a"),
        ("items", "[]", []),
        ("any", "[1]", [1]),
        ("any", "plain", "plain"),
        ("unknown", "7", 7),
    ],
)
def test_a_word_is_read_by_the_type_of_its_field(schema, name, word, value):
    found = schema.read(name, word)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("payload", "problems"),
    [
        ({}, "n: is missing: give integer, such as 7"),
        ({"n": "5"}, "n: is text, but must be integer, such as 7"),
        ({"n": 5.0}, "n: is a number, but must be integer, such as 7"),
        ({"n": True}, "n: is a boolean, but must be integer, such as 7"),
        ({"n": 0}, "n: is an integer, but must be integer, such as 7 with minimum 1"),
        ({"n": 1, "maybe": "x"}, "maybe: is text, but must be integer or null"),
        ({"n": 1, "colour": None}, 'colour: is null, but must be one of "red", "blue"'),
        ({"n": 1, "items": [{"sku": 1}]}, "items.0.sku: is an integer, but must be text"),
        ({"n": 1, "item": {}}, "item.sku: is missing: give text"),
        ({"n": 1, "colr": 1}, "colr: is no field of box (did you mean 'colour'?)"),
    ],
)
def test_a_misfit_names_field_type_and_remedy(schema, payload, problems):
    with pytest.raises(MisfitError) as caught:
        schema.fit(payload)

    assert str(caught.value) == problems


def test_a_misfit_never_quotes_a_value(schema):
    with pytest.raises(MisfitError) as caught:
        schema.fit({"n": "secret", "item": {"sku": ["secret"]}, "colour": "secret"})

    assert "secret" not in str(caught.value)


def test_what_is_left_out_is_filled_in_and_in_order(schema):
    found = schema.fit({"item": {"sku": "a"}, "n": 1})

    assert list(found.items()) == [("n", 1), ("colour", "red"), ("item", {"sku": "a", "count": 1})]


def test_fields_are_told_in_words(schema):
    fields = {field.name: field for field in schema.fields()}

    assert (fields["n"].type, fields["n"].required) == ("integer", True)
    assert fields["when"].type == "text (date) or text"
    assert fields["colour"].type == 'one of "red", "blue"'
    assert fields["colour"].default == '"red"'
    assert fields["colour"].description == "of the box"
    assert fields["items"].type == "array of object"
    assert fields["any"].type == "anything"


def test_nothing_is_fetched_for_a_schema_that_refers_elsewhere():
    elsewhere = PayloadSchema("x", {"properties": {"a": {"$ref": "http://127.0.0.1:1/schema"}}})

    with pytest.raises(SchemaUnreadableError):
        elsewhere.fit({"a": 1})


def test_a_pattern_that_is_none_makes_the_schema_unreadable():
    broken = PayloadSchema("x", {"properties": {"a": {"type": "string", "pattern": "("}}})

    with pytest.raises(SchemaUnreadableError):
        broken.fit({"a": "b"})


def test_references_in_a_circle_end():
    circle = {"$defs": {"A": {"$ref": "#/$defs/A"}}, "properties": {"a": {"$ref": "#/$defs/A"}}}

    with pytest.raises((MisfitError, SchemaUnreadableError)):
        PayloadSchema("x", circle).fit({"a": 1})


def test_too_deep_a_payload_is_a_misfit(schema):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    tree = PayloadSchema(
        "x", {"$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
              "properties": {"a": {"$ref": "#/$defs/T"}}},
    )  # fmt: skip

    with pytest.raises(MisfitError, match="nested too deeply"):
        tree.fit({"a": deep})
