"""A job's payload as JSON and back: what is accepted arrives as it was, or is refused.

For each class of jobs it is worked out once how it travels:

- Fields of int, str, bool, float and None travel as they are.
- Where all fields have types of which the JSON is certain, pydantic writes them in JSON mode and
  reads them in Python mode: that is the faster way on the worker.
- Everything else is written as JSON and read as JSON: strict types, aliases, unions, `Any`,
  validators and serializers of one's own.

Before a payload leaves it is read as the worker will read it, and compared with the job.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
from pydantic import ValidationError

from duly.comparison import difference, in_order
from duly.errors import InvalidOptionError, InvalidPayloadError
from duly.job import Job

_NATIVE = {"int", "str", "bool", "float", "none"}
_SCALAR = {"decimal", "datetime", "date", "timedelta", "uuid"}
_CERTAIN = _NATIVE | _SCALAR | {"enum", "list", "dict", "model"}
_UNCERTAIN = (
    *("serialization", "strict", "validation_alias", "serialization_alias"),
    *("serialization_exclude", "serialization_exclude_if"),
)
"""What makes any part of a class uncertain, whatever its type."""
_NOT_FINITE = "is not a finite number, which JSON cannot carry"
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


class PayloadForm:
    """How the payloads of one class of jobs travel. Get it from `form_of`."""

    def __init__(self, job_class: type[Job]) -> None:
        kind = getattr(job_class, "kind", "")
        if not isinstance(kind, str) or not kind:
            problem, remedy = "is no kind of job", "pass an instance of a class that has a kind"
            raise InvalidOptionError("job", job_class, problem, remedy)
        self.job_class = job_class
        if not job_class.__pydantic_complete__:
            job_class.model_rebuild()
        self._writer = job_class.__pydantic_serializer__
        self._reader = job_class.__pydantic_validator__
        fields = _fields(job_class)
        self._names = list(fields)
        self._floats = [name for name, types in fields.items() if "float" in types]
        self._native = all(types <= _NATIVE for types in fields.values())
        self.plain = all(types <= _CERTAIN for types in fields.values())
        """Whether it is read in Python mode."""
        self._by_types = self._native and _is_free(job_class)
        self._known: set[tuple[type, ...]] = set()
        """Types of the values of payloads that have been found to arrive as they are.

        Where a class has native fields without constraints, nothing but these types decides.
        """
        self.decode: Callable[[dict[str, Any]], Job] = (
            self._reader.validate_python if self.plain else self._decode_as_json
        )
        """Return the job that a payload is. Raises what pydantic and validators raise."""

    def encode(self, job: Job) -> dict[str, Any]:
        """Return a job's payload: by the names of its fields, sets in order, nothing computed.

        Raises:
            InvalidPayloadError: It would not arrive as it is; names the field.
        """
        if self._by_types:
            payload = job.__dict__.copy()
            if tuple(map(type, payload.values())) in self._known:
                self._check_floats(payload)
                return payload
        return self._compared(job)

    def read(self, values: Mapping[str, Any]) -> Job:
        """Return the job that somebody describes by its payload, before it has been JSON.

        Raises:
            ValidationError: It does not fit; names the fields.
            InvalidPayloadError: A value is none that JSON carries; names the field.
        """
        payload = dict(values)
        check_finite(self.job_class.kind, payload)
        try:
            return self.decode(payload)
        except ValidationError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise unwritable(self.job_class.kind, payload) from None

    def _compared(self, job: Job) -> dict[str, Any]:
        """Return a payload that was read as the worker will read it, and compared."""
        try:
            payload = self._written(job)
            arrived = self.decode(payload)
        except ValidationError as error:
            raise self._refused(*_first_of(error)) from None
        except InvalidPayloadError:
            raise
        except Exception as error:  # serializers and validators may raise anything
            problem = f"cannot be written as JSON ({type(error).__name__})"
            raise self._refused(self._unwritable(job), problem) from error
        # Models compare their fields by types and values; what is cached makes no difference.
        if not self.plain or arrived.__dict__ != job.__dict__:
            if found := difference(job, arrived):
                raise self._refused(*found)
        elif self._by_types:
            self._known.add(tuple(map(type, payload.values())))
        return payload

    def to_json(self, job: Job) -> str:
        """Return a job that has arrived as JSON, for another process of the worker."""
        return self._writer.to_json(job, by_alias=False, round_trip=True, warnings=False).decode()

    def from_json(self, text: str) -> Job:
        """Return the job that `to_json` was given."""
        return self.decode(_decode(text))

    def _written(self, job: Job) -> dict[str, Any]:
        if not self.plain:
            return self._written_as_json(job)
        payload: dict[str, Any]
        if self._native:
            payload = job.__dict__.copy()
            if len(payload) != len(self._names):  # something is cached, or missing
                payload = {name: payload[name] for name in self._names}
        else:
            payload = self._writer.to_python(job, mode="json")
        self._check_floats(payload)
        return payload

    def _check_floats(self, payload: dict[str, Any]) -> None:
        for name in self._floats:
            value = payload[name]
            if value is not None and not isfinite(value):
                raise self._refused(name, _NOT_FINITE)

    def _written_as_json(self, job: Job) -> dict[str, Any]:
        data = self._writer.to_json(job, by_alias=False, round_trip=True, warnings=False)
        payload = _decode(data)
        if not isinstance(payload, dict):
            raise self._refused("", "is written as something else than an object")
        ordered: dict[str, Any] = in_order(job, payload)
        return ordered

    def _unwritable(self, job: Job) -> str:
        """Return the first field that cannot be written; "" when each can by itself."""
        for name in self.job_class.model_fields:
            try:
                _decode(self._writer.to_json(job, include={name}, round_trip=True, warnings=False))
            except Exception:  # noqa: BLE001 - serializers may raise anything
                return name
        return ""

    def _decode_as_json(self, payload: dict[str, Any]) -> Job:
        # Names and aliases: what a client writes, and what a person may.
        job: Job = self._reader.validate_json(_encode(payload), by_alias=True, by_name=True)
        return job

    def _refused(self, field: str, problem: str) -> InvalidPayloadError:
        return InvalidPayloadError(self.job_class.kind, field, problem)


@lru_cache(maxsize=4096)
def form_of(job_class: type[Job]) -> PayloadForm:
    """Return how the payloads of a class of jobs travel.

    Raises:
        InvalidOptionError: It is no class of jobs.
    """
    if not issubclass(job_class, Job):
        raise InvalidOptionError(
            "job",
            job_class,
            f"a {job_class.__name__} is no job",
            "make one, such as send_invoice.job(7) of a task or SendInvoice(order_id=7) of a class",
        )
    return PayloadForm(job_class)


def encode(job: Job) -> dict[str, Any]:
    """Return a job's payload; see `PayloadForm.encode`."""
    return form_of(type(job)).encode(job)


def check_finite(kind: str, payload: Mapping[str, Any]) -> None:
    """Return if all numbers of a payload are finite: others would be written as null.

    Raises:
        InvalidPayloadError: One is not; names its field.
    """
    try:
        path = _first_not_finite(payload)
    except RecursionError:
        raise InvalidPayloadError(kind, "", "is nested too deeply") from None
    if path is not None:
        raise InvalidPayloadError(kind, ".".join(map(str, path)), _NOT_FINITE)


def _first_not_finite(value: object) -> tuple[object, ...] | None:
    """Return where the first number is that is not finite; None: nowhere."""
    if isinstance(value, float):
        return None if isfinite(value) else ()
    if isinstance(value, Mapping):
        parts: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return None
    for name, part in parts:
        if (path := _first_not_finite(part)) is not None:
            return (name, *path)
    return None


def unwritable(kind: str, payload: dict[str, Any]) -> InvalidPayloadError:
    """Return why a payload has no bytes: a text with half a character, or too deep a nest."""
    for name, value in payload.items():
        try:
            _encode(value)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            problem = f"cannot be written as JSON ({type(error).__name__})"
            return InvalidPayloadError(kind, name, problem)
    return InvalidPayloadError(kind, "", "cannot be written as JSON")


def _first_of(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), f"would be refused by the worker ({first['type']})"


def _fields(job_class: type[Job]) -> dict[str, set[str]]:
    """Return for each field which types it is made of; "?" is one that is not certain."""
    schema: Any = job_class.__pydantic_core_schema__
    if not _is_usual(schema):
        return {"": {"?"}}
    fields = schema["schema"]["fields"]
    return {name: set(_types(field["schema"])) | _how(field) for name, field in fields.items()}


def _is_usual(model: dict[str, Any]) -> bool:
    """Tell whether a model has neither validators nor serializers nor extra fields of its own."""
    config = model.get("config") or {}
    return (
        model["type"] == "model"
        and not _is_marked(model)
        and model["schema"]["type"] == "model-fields"
        and config.get("extra_fields_behavior") != "allow"
        and not config.get("strict")
        and not any(name.startswith(("ser_json", "val_")) for name in config)
    )


def _is_free(job_class: type[Job]) -> bool:
    """Tell whether each value of the right type is right: there are no further constraints."""
    schema: Any = job_class.__pydantic_core_schema__
    if any(name.startswith("str_") for name in schema.get("config") or {}):
        return False
    return all(_is_without_terms(field["schema"]) for field in schema["schema"]["fields"].values())


def _is_without_terms(schema: dict[str, Any]) -> bool:
    if schema["type"] in {"nullable", "default"}:
        return _is_without_terms(schema["schema"])
    return schema["type"] in _NATIVE and not set(schema) - {"type", "ref", "metadata"}


def _is_marked(schema: dict[str, Any]) -> bool:
    return any(schema.get(name) for name in _UNCERTAIN)


def _how(field: dict[str, Any]) -> set[str]:
    return {"?"} if _is_marked(field) else set()


def _types(schema: Any, *, top: bool = True) -> Iterator[str]:  # noqa: ANN401 - of pydantic's core
    """Yield the types that a field is made of."""
    kind = schema["type"]
    if _is_marked(schema):
        yield "?"
    elif kind in {"nullable", "default"}:
        yield from _types(schema["schema"], top=top)
    elif kind in {"literal", "enum"}:
        yield from map(_type_of, schema["expected" if kind == "literal" else "members"])
    elif _items_of(schema):
        yield from (kind, *_types(_items_of(schema), top=False))
    elif kind == "model" and _is_usual(schema):
        for field in schema["schema"]["fields"].values():
            yield from ("model", *_types(field["schema"], top=False), *_how(field))
    elif kind in _NATIVE | _SCALAR and (top or kind != "float"):  # NaN would hide in an inner one
        yield kind
    else:
        yield "?"


def _items_of(schema: dict[str, Any]) -> Any:  # noqa: ANN401 - of pydantic's core
    """Return what a list or a dictionary by text has in it; None for anything else."""
    if schema["type"] == "list":
        return schema.get("items_schema")
    if schema["type"] == "dict" and schema.get("keys_schema", {}).get("type") == "str":
        return schema.get("values_schema")
    return None


def _type_of(value: object) -> str:
    """Name the type of a literal, or of a member of an enumeration."""
    plain = {str: "str", int: "int", bool: "bool"}
    found = plain.get(type(getattr(value, "value", value)), "?")
    return "enum" if isinstance(value, Enum) and found != "?" else found
