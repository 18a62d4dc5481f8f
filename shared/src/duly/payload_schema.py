"""A payload by its JSON schema: checked, completed and put in the form that its class writes.

Whoever cannot import a class of jobs has its schema from the catalogue. What is made of that is
equal to what the class would make, byte by byte: the order of fields, defaults, the form of
instants and decimals. Otherwise one unique task would hold two locks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgspec
from pydantic import AnyUrl, TypeAdapter, ValidationError

from duly.errors import DulyError
from duly.extras import require
from duly.payload_bounds import BOUNDS_KEY, BoundsError, out_of_bounds
from duly.schema_words import (
    EXAMPLES,
    NAMES,
    READERS,
    UNREADABLE,
    Json,
    any_of,
    kind_of,
    no_field,
    shown,
    spellings,
)

Path = tuple[str | int, ...]
_FORMATS: Final[Mapping[str, tuple[Any, str]]] = {
    "date-time": (datetime, '"2026-01-31T12:00:00Z"'),
    "date": (date, '"2026-01-31"'),
    "time": (time, '"12:00:00"'),
    "duration": (timedelta, '"PT1H30M"'),
    "decimal": (Decimal, '"12.50"'),
    "uuid": (UUID, '"0198f00d-0000-7000-8000-000000000000"'),
    "uri": (AnyUrl, '"https://example.org/"'),
    "ipv4": (IPv4Address, '"192.0.2.1"'),
    "ipv6": (IPv6Address, '"2001:db8::1"'),
    "ipv4interface": (IPv4Interface, '"192.0.2.1/24"'),
    "ipv6interface": (IPv6Interface, '"2001:db8::1/64"'),
    "ipv4network": (IPv4Network, '"192.0.2.0/24"'),
    "ipv6network": (IPv6Network, '"2001:db8::/32"'),
}
"""Format → the type whose JSON it is, and an example."""
_MOST_PROBLEMS = 10
_MOST_REFERENCES = 32


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one value; never quotes it."""

    path: Path
    text: str


class MisfitError(DulyError, ValueError):
    """A payload does not fit the schema of its kind."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{name_of(each.path)}: {each.text}" for each in problems))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a payload, in words."""

    name: str
    type: str
    required: bool
    default: str
    """As JSON; "": none, or only the worker knows it."""
    description: str


class PayloadSchema:
    """The JSON schema of the payloads of one kind.

    Args:
        kind: The kind.
        schema: An object of JSON Schema 2020-12, as pydantic writes it; None: nothing is known, and
            everything fits.
    """

    def __init__(self, kind: str, schema: Mapping[str, Json] | None) -> None:
        self.kind = kind
        self._schema = dict(schema or {})
        self._definitions = self._schema.get("$defs", {})
        top = self._resolved(self._schema)
        self.properties: Mapping[str, Json] = top.get("properties", {})
        """Field → its schema."""
        self._required = set(top.get("required", ()))

    @cached_property
    def validator(self) -> Any:  # noqa: ANN401 - jsonschema has no types
        """What checks values.

        Raises:
            SchemaUnreadableError: The schema is none.
            MissingExtraError: `jsonschema` is not installed.
        """
        return _validator(self.kind, msgspec.json.encode(self._schema))

    def fields(self) -> Iterator[Field]:
        """Yield the fields, in their order."""
        for name, part in self.properties.items():
            whole = self._resolved(part)
            yield Field(
                name=name,
                type=self.type_of(part),
                required=name in self._required,
                default=shown(whole["default"]) if "default" in whole else "",
                description=" ".join(str(whole.get("description", "")).split()),
            )

    def type_of(self, schema: Json) -> str:
        """Return the type of a value in words: `text (date-time) or null`."""
        whole = self._resolved(schema)
        if "const" in whole or "enum" in whole:
            members = whole.get("enum", [whole.get("const")])
            return "one of " + ", ".join(map(shown, members))
        if branches := _branches(whole):
            return " or ".join(dict.fromkeys(map(self.type_of, branches)))
        types = whole.get("type", "anything")
        names = [types] if isinstance(types, str) else types
        found = " or ".join(NAMES.get(name, name) for name in names)
        if "items" in whole and isinstance(whole["items"], dict):
            return f"{found} of {self.type_of(whole['items'])}"
        return f"{found} ({whole['format']})" if "format" in whole else found

    def fit(self, payload: Mapping[str, Json]) -> dict[str, Json]:
        """Return a payload as its class would write it, with the defaults that are left out.

        Raises:
            MisfitError: It does not fit; names each field that does not, and what would.
        """
        try:
            problems = list(self._problems(dict(payload))) if self._schema else []
            if problems:
                raise MisfitError(problems)
            found: dict[str, Json] = self._written(self._schema, dict(payload), ())
        except RecursionError:
            raise MisfitError([Problem((), "is nested too deeply")]) from None
        except _broken() as error:
            raise SchemaUnreadableError(self.kind, type(error).__name__) from None
        return found

    def read(self, name: str, word: str) -> Json:
        """Return the value of a field that a person has written as a word.

        Text stays as it is, numbers are numbers, booleans also yes and no; lists and objects are
        JSON; `null` is null where that is allowed. Of several types the first that fits counts.
        What is not of its type stays text, which `fit` then refuses.
        """
        part = self.properties.get(name)
        found = any_of(word) if part is None else self._read(part, word)
        return word if found is UNREADABLE else found

    def _read(self, schema: Json, word: str) -> Json:
        whole = self._resolved(schema)
        if branches := _branches(whole):
            if word == "null" and any(self._is_null(branch) for branch in branches):
                return None
            candidates = ((branch, self._read(branch, word)) for branch in branches)
            fitting = (value for branch, value in candidates if self._fits(branch, value))
            return next(fitting, UNREADABLE)
        if "enum" in whole or "const" in whole:
            members = whole.get("enum", [whole.get("const")])
            return next((each for each in members if word in spellings(each)), UNREADABLE)
        reader = READERS.get(str(whole.get("type")), any_of)
        return reader(word)

    def _is_null(self, schema: Json) -> bool:
        return bool(self._resolved(schema).get("type") == "null")

    def _fits(self, schema: Json, value: Json) -> bool:
        if value is UNREADABLE or not self.validator.evolve(schema=schema).is_valid(value):
            return False
        try:
            self._written(schema, value, ())
        except MisfitError:
            return False
        return True

    def _written(self, schema: Json, value: Json, path: Path) -> Json:
        """Return a value that is valid in the form in which its type is written."""
        whole = self._resolved(schema)
        if branches := _branches(whole):
            return self._first(branches, value, path)
        if isinstance(value, dict):
            return self._object(whole, value, path)
        if isinstance(value, list):
            return self._list(whole, value, path)
        return self._scalar(whole, value, path)

    def _scalar(self, whole: Json, value: Json, path: Path) -> Json:
        if isinstance(value, str) and whole.get("format") in _FORMATS:
            return self._formatted(str(whole["format"]), whole.get(BOUNDS_KEY), value, path)
        if whole.get("type") == "number" and _is_integer(None, value):
            return float(value)
        return value

    def _first(self, branches: Sequence[Json], value: Json, path: Path) -> Json:
        """Return a value by the first of several schemas that it fits."""
        if _is_integer(None, value):
            # As pydantic has it: an integer stays one, wherever that is allowed.
            exact = [each for each in branches if self._resolved(each).get("type") == "integer"]
            branches = [*exact, *branches]
        for branch in branches:
            if self._fits(branch, value):
                return self._written(branch, value, path)
        expected = " or ".join(dict.fromkeys(map(self.type_of, branches)))
        raise MisfitError([Problem(path, f"is {kind_of(value)}, but must be {expected}")])

    def _object(self, whole: Json, value: dict[str, Json], path: Path) -> dict[str, Json]:
        found: dict[str, Json] = {}
        properties = whole.get("properties", {})
        for name, part in properties.items():
            if name in value:
                found[name] = self._written(part, value[name], (*path, name))
            elif isinstance(part, dict) and "default" in part:
                found[name] = part["default"]
        others = whole.get("additionalProperties")
        for name, item in value.items():
            if name not in properties:
                known = isinstance(others, dict)
                found[name] = self._written(others, item, (*path, name)) if known else item
        return found

    def _list(self, whole: Json, value: list[Json], path: Path) -> list[Json]:
        first, rest = whole.get("prefixItems", []), whole.get("items")
        parts = [*first, *[rest] * (len(value) - len(first))]
        found = [
            self._written(part, item, (*path, place)) if isinstance(part, dict) else item
            for place, (part, item) in enumerate(zip(parts, value, strict=False))
        ]
        if whole.get("uniqueItems"):
            # A set: as its class does, what comes twice is taken once.
            by_text = {msgspec.json.encode(item, order="sorted"): item for item in found}
            return [by_text[text] for text in sorted(by_text)]
        return found

    def _formatted(self, name: str, bounds: Json, value: str, path: Path) -> Json:
        adapter, example = _adapter(name), _FORMATS[name][1]
        try:
            found = adapter.dump_python(adapter.validate_strings(value), mode="json")
        except ValidationError:
            problem = f"is text, but must be text (format {name}), such as {example}"
            raise MisfitError([Problem(path, problem)]) from None
        if problem := out_of_bounds(name, bounds, value):
            raise MisfitError([Problem(path, f"does not fit: {problem}")])
        return found

    def _resolved(self, schema: Json) -> dict[str, Json]:
        """Return a schema with what it refers to; its own words count first."""
        whole: dict[str, Json] = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(_MOST_REFERENCES):
            if "$ref" not in whole:
                return whole
            name = str(whole.pop("$ref")).removeprefix("#/$defs/")
            whole = {**self._definitions.get(name, {}), **whole}
        return whole

    def _problems(self, payload: dict[str, Json]) -> Iterator[Problem]:
        errors = islice(self.validator.iter_errors(payload), _MOST_PROBLEMS)
        yield from dict.fromkeys(problem for error in errors for problem in self._explained(error))

    def _explained(self, error: Any) -> Iterator[Problem]:  # noqa: ANN401 - of jsonschema
        """Say of an error of jsonschema what is wrong, and what would be right."""
        path, limit = tuple(error.absolute_path), error.validator_value
        if error.validator == "required":
            for name in limit:
                if name not in error.instance:
                    part = error.schema.get("properties", {}).get(name, {})
                    yield Problem((*path, name), f"is missing: give {self._wanted(part)}")
        elif error.validator == "additionalProperties" and limit is False:
            known = error.schema.get("properties", {})
            for name in error.instance:
                if name not in known:
                    yield Problem((*path, name), no_field(self.kind, name, list(known)))
        else:
            wanted = self._wanted(error.schema)
            found = kind_of(error.instance)
            if error.validator not in {"type", "anyOf", "oneOf", "enum", "const"}:
                wanted = f"{wanted} with {error.validator} {shown(limit)}"
            yield Problem(path, f"is {found}, but must be {wanted}")

    def _wanted(self, schema: Json) -> str:
        """Return the type of a value in words, with an example."""
        whole = self._resolved(schema)
        name, example = self.type_of(whole), EXAMPLES.get(str(whole.get("type")))
        if whole.get("format") in _FORMATS:
            example = _FORMATS[whole["format"]][1]
        return f"{name}, such as {example}" if example else name


class SchemaUnreadableError(DulyError):
    """What was published as the schema of a kind is none."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"the published schema of {kind} cannot be read: {reason}")


def name_of(path: Path) -> str:
    """Return a path as people write it: `items.0.price`; "payload": the payload as a whole."""
    return ".".join(map(str, path)) or "payload"


def explained(error: ValidationError) -> str:
    """Return what is wrong with a payload, each field by its name; quotes no value."""
    return "; ".join(
        f"{name_of(problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )


@lru_cache(maxsize=256)
def _validator(kind: str, encoded: bytes) -> Any:  # noqa: ANN401 - jsonschema has no types
    require("a payload by its schema", "jsonschema", "referencing")
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import extend
    from referencing import Registry

    schema = msgspec.json.decode(encoded)
    # 1.0 is no integer, as in pydantic's JSON. And nothing is fetched from anywhere.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaUnreadableError(kind, f"at {error.json_path}") from None
    except RecursionError:
        raise SchemaUnreadableError(kind, "it is nested too deeply") from None
    # What comes twice in a set is taken once, by its class as here.
    checks = {"uniqueItems": lambda *_: ()}
    validating = extend(Draft202012Validator, checks, type_checker=types)
    return validating(schema, registry=Registry())


def _broken() -> tuple[type[Exception], ...]:
    """Return what a schema raises that only looked like one: a pattern or a reference is wrong."""
    from referencing.exceptions import Unresolvable

    return re.error, LookupError, OverflowError, Unresolvable, BoundsError


@lru_cache(maxsize=len(_FORMATS))
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_FORMATS[name][0])


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _branches(whole: Mapping[str, Json]) -> list[Json]:
    for name in ("anyOf", "oneOf"):
        if isinstance(found := whole.get(name), list):
            return found
    return []
