"""What a class of jobs says of itself to those that cannot import it: JSON, and nothing to run."""

import inspect
from collections.abc import Callable
from typing import Any, Final

from pydantic import PydanticSchemaGenerationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from pydantic_core.core_schema import ComputedField
from typing_extensions import override

from duly.job import Job
from duly.payload_bounds import bounds_of

_EMPTY: Final[dict[Callable[..., object], object]] = {
    list: [], set: [], frozenset: [], tuple: [], dict: {},
}  # fmt: skip
"""Factories of which the default is known without calling them."""


class SchemaError(ValueError):
    """A payload has no JSON schema."""


class _Schema(GenerateJsonSchema):
    """Describes what travels: the fields by their names, without what is computed from them."""

    @override
    def field_title_should_be_set(self, schema: object) -> bool:
        """Leave out titles that only repeat names."""
        return False

    @override
    def emit_warning(self, kind: object, detail: str) -> None:
        """Pass over a default that is no JSON: the worker knows it."""

    @override
    def model_fields_schema(self, schema: core_schema.ModelFieldsSchema) -> JsonSchemaValue:
        """Describe the fields of a model."""
        return super().model_fields_schema({**schema, "computed_fields": list[ComputedField]()})

    @override
    def dataclass_args_schema(self, schema: core_schema.DataclassArgsSchema) -> JsonSchemaValue:
        """Describe the fields of a dataclass."""
        return super().dataclass_args_schema({**schema, "computed_fields": list[ComputedField]()})

    @override
    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Describe a decimal, which travels as text."""
        return super().decimal_schema(schema) | {"format": "decimal"} | bounds_of(schema)

    @override
    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """Describe a date."""
        return super().date_schema(schema) | bounds_of(schema)

    @override
    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """Describe a time of day."""
        return super().time_schema(schema) | bounds_of(schema)

    @override
    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """Describe an instant."""
        return super().datetime_schema(schema) | bounds_of(schema)

    @override
    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """Describe a duration."""
        return super().timedelta_schema(schema) | bounds_of(schema)

    @override
    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """Describe an address."""
        return super().url_schema(schema) | bounds_of(schema)

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Describe a field with a default, that of `default_factory=list` and the like too."""
        found = super().default_schema(schema)
        factory = schema.get("default_factory")
        if isinstance(factory, type) and factory in _EMPTY:
            return found | {"default": _EMPTY[factory]}
        return found


def schema_of(job: type[Job]) -> dict[str, Any]:
    """Return the JSON schema of a class' payloads, as they travel.

    Raises:
        SchemaError: A field has a type that JSON schemas cannot describe.
    """
    try:
        schema = job.model_json_schema(
            by_alias=False, mode="serialization", schema_generator=_Schema
        )
    except (
        PydanticInvalidForJsonSchema,
        PydanticSchemaGenerationError,
        PydanticUserError,
        RecursionError,
    ) as error:
        raise SchemaError(str(error).partition("\n")[0]) from error
    for described in (schema, *schema.get("$defs", {}).values()):
        described.pop("title", None)
    schema.pop("description", None)  # told beside the schema
    for name, part in schema.get("properties", {}).items():
        if "default" not in part:
            part.update(_default_of(job, name))
    return schema


def _default_of(job: type[Job], name: str) -> dict[str, Any]:
    """Return the default of a field that has one and serializers of its own, by itself."""
    field = job.model_fields.get(name)
    if field is None or field.is_required() or field.default_factory is not None:
        return {}
    alone = job.model_construct(**dict.fromkeys(job.model_fields, None) | {name: field.default})
    try:
        written = alone.model_dump(mode="json", include={name}, round_trip=True, warnings=False)
    except Exception:  # noqa: BLE001 - serializers may raise anything; the worker knows the default
        return {}
    return {"default": written[name]} if name in written else {}


def description_of(job: type[Job]) -> str:
    """Return the first paragraph of a class' own docstring, on one line; "": it has none."""
    text = inspect.cleandoc(vars(job).get("__doc__") or "")
    return " ".join(text.partition("\n\n")[0].split())


def policy_of(job: type[Job]) -> dict[str, Any]:
    """Return a class' policy as JSON; a function is the name by which it is imported."""
    functions = {
        name: f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        for name in ("backoff", "is_failure")
        if callable(value := getattr(job.policy, name))
    }
    return job.policy.model_dump(mode="json", exclude=set(functions)) | functions
