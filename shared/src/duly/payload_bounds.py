"""Bounds of values that travel as text, such as of decimals and dates, beside their JSON schema.

JSON Schema bounds numbers alone. What the others are bound by is published under a key of duly's
own, in the words of pydantic's core, which checks it again.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaError, SchemaValidator, to_jsonable_python

BOUNDS_KEY: Final = "x-duly-bounds"
"""Where they stand in the schema of a field."""
_COMPARED: Final = ("gt", "ge", "lt", "le", "multiple_of")
"""Those that are values of the type themselves."""
_OTHERS: Final = (
    *("max_digits", "decimal_places"),
    *("tz_constraint", "now_op"),
    *("allowed_schemes", "host_required", "max_length"),
)
_TYPES: Final[Mapping[str, tuple[str, Any]]] = {
    "date-time": ("datetime", datetime),
    "date": ("date", date),
    "time": ("time", time),
    "duration": ("timedelta", timedelta),
    "decimal": ("decimal", Decimal),
    "uri": ("url", str),
}
"""Format → what pydantic's core calls its type, and the type of a bound."""


class BoundsError(ValueError):
    """What was published as the bounds of a field are none."""


def bounds_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bounds of a type of pydantic's core as a part of its JSON schema."""
    named = (*_COMPARED, *_OTHERS)
    found = {name: to_jsonable_python(schema[name]) for name in named if name in schema}
    return {BOUNDS_KEY: found} if found else {}


def out_of_bounds(format_name: str, bounds: object, text: str) -> str:
    """Return why a value is not within its bounds, without quoting it; "": it is.

    Args:
        format_name: Of the value.
        bounds: What its schema holds under `BOUNDS_KEY`.
        text: The value, which is one of the format.

    Raises:
        BoundsError: The bounds are none.
    """
    if format_name not in _TYPES or not bounds:
        return ""
    try:
        _validator(format_name, msgspec.json.encode(bounds)).validate_strings(cast("Any", text))
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False, include_input=False)
        return str(first["msg"])
    return ""


@lru_cache(maxsize=256)
def _validator(format_name: str, encoded: bytes) -> SchemaValidator:
    core, kind = _TYPES[format_name]
    given = msgspec.json.decode(encoded)
    try:
        bounds: Any = {
            name: TypeAdapter(kind).validate_python(given[name])
            for name in _COMPARED
            if name in given
        }
        bounds |= {name: given[name] for name in _OTHERS if name in given}
        return SchemaValidator({"type": core, **bounds})
    except (ValidationError, SchemaError, TypeError, KeyError) as error:
        raise BoundsError(f"bounds of {format_name}") from error
