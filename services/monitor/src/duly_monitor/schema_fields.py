"""A form's fields from the JSON schema of a payload, and the payload from what was typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from duly_monitor.payloads import PayloadError

Control = Literal["text", "integer", "number", "boolean", "choice", "json"]
_CONTROLS: Final[Mapping[str, Control]] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_MOST_CHOICES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaField:
    """One field of a payload."""

    name: str
    control: Control
    required: bool
    description: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    """What it is without being typed, as JSON or text; "" where that is not said."""


def fields_of(schema: Mapping[str, Any] | None) -> list[SchemaField]:
    """Return the fields of a payload; none where its schema does not list any."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, Mapping):
        return []
    required = schema.get("required", ()) if schema else ()
    return [_field(name, rule, required=name in required) for name, rule in properties.items()]


def payload_from(fields: list[SchemaField], values: Mapping[str, str]) -> dict[str, Any]:
    """Return the payload that was typed; an empty field that may be left out is left out.

    Raises:
        PayloadError: A value is not of its field's type.
    """
    return {
        field.name: _value(field, values.get(field.name, ""))
        for field in fields
        if values.get(field.name) or field.required
    }


def _field(name: str, rule: Any, *, required: bool) -> SchemaField:  # noqa: ANN401 - a schema
    rule = rule if isinstance(rule, Mapping) else {}
    simple = _simple(rule)
    choices = simple.get("enum")
    control: Control = _CONTROLS.get(str(simple.get("type")), "json")
    shown = ()
    if isinstance(choices, list) and all(isinstance(each, str) for each in choices):
        control, shown = "choice", tuple(choices[:_MOST_CHOICES])
    default = rule.get("default")
    as_text = default if isinstance(default, str) else json.dumps(default)
    return SchemaField(
        name=name,
        control=control,
        required=required,
        description=str(rule.get("description", ""))[:300],
        choices=shown,
        default=as_text if "default" in rule else "",
    )


def _simple(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a rule that also allows null says of everything else."""
    ways = rule.get("anyOf")
    if not isinstance(ways, list):
        return rule
    others = [way for way in ways if isinstance(way, Mapping) and way.get("type") != "null"]
    return others[0] if len(others) == 1 else {}


def _value(field: SchemaField, text: str) -> Any:  # noqa: ANN401 - JSON
    if field.control in {"text", "choice"}:
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise PayloadError(f"{field.name}: {_WANTED[field.control]}") from None
    if field.control == "boolean" and not isinstance(found, bool):
        raise PayloadError(f"{field.name}: {_WANTED['boolean']}")
    return found


_WANTED: Final[Mapping[str, str]] = {
    "integer": "type a whole number",
    "number": "type a number",
    "boolean": "choose true or false",
    "json": 'type JSON, such as ["a", 1] or {"key": "value"}',
}
