"""Jobs of a kind whose class is not here: made of what the catalogue says of the kind."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import msgspec
from pydantic import ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from duly.job import Job, Policy, is_name
from duly.payload_schema import MisfitError, PayloadSchema
from duly.schema_words import MISFIT


class DescribedJob(Job, kind="described_job"):
    """The base of jobs that were made by `described_job`: their payload is what a schema allows."""

    model_config = ConfigDict(extra="allow")

    schema_of_payload: ClassVar[PayloadSchema] = PayloadSchema("described_job", None)

    @model_validator(mode="before")
    @classmethod
    def _fit(cls, values: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Check a payload, and complete it as its class would.

        Raises:
            ValidationError: It does not fit; names each field that does not.
        """
        if not isinstance(values, Mapping):
            return values  # pydantic says what is wrong
        try:
            return cls.schema_of_payload.fit(values)
        except MisfitError as error:
            problems = [
                InitErrorDetails(
                    type=PydanticCustomError(MISFIT, "{text}", {"text": each.text}),
                    loc=each.path,
                    input=None,
                )
                for each in error.problems
            ]
            raise ValidationError.from_exception_data(cls.kind, problems) from None


def described_job(
    kind: str, schema: Mapping[str, Any] | None, policy: Mapping[str, Any]
) -> type[DescribedJob]:
    """Return a class of jobs for a kind of the catalogue; the same one for the same arguments.

    Everything that takes a job takes its instances. Its policy has what matters to who enqueues;
    of functions only the worker knows more than the name.

    Args:
        kind: The kind.
        schema: The JSON schema of its payload; None: unknown, and every payload is taken.
        policy: As `policy_of` returns it. What is unknown here is passed over.

    Raises:
        SchemaUnreadableError: The schema is none.
        MissingExtraError: `jsonschema` is not installed.
        ValueError: The kind is no name.
    """
    if not is_name(kind):
        message = f"{kind!r} is not the name of a kind"
        raise ValueError(message)
    return _made(kind, msgspec.json.encode(schema), msgspec.json.encode(policy))


def fields_of(job: type[Job]) -> list[str]:
    """Return the names of the fields of a class of jobs, whether it was made here or not."""
    if issubclass(job, DescribedJob):
        return list(job.schema_of_payload.properties)
    return list(job.model_fields)


@lru_cache(maxsize=512)
def _made(kind: str, schema: bytes, policy: bytes) -> type[DescribedJob]:
    published = msgspec.json.decode(schema)
    described = PayloadSchema(kind, published)
    if published:
        described.validator  # noqa: B018 - a schema that is none is refused here

    class Described(DescribedJob, kind=kind, policy=_policy_from(msgspec.json.decode(policy))):
        schema_of_payload = described

    Described.__name__ = Described.__qualname__ = kind
    return Described


def _policy_from(published: Mapping[str, Any]) -> Policy:
    """Return a policy without what cannot be read: functions, and what is newer than this."""
    found: dict[str, Any] = {}
    for name, value in published.items():
        if name in Policy.model_fields:
            try:
                Policy.model_validate({name: value})
            except ValidationError:
                continue
            found[name] = value
    return Policy.model_validate(found)
