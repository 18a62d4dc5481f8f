"""A job from words: the kind, and its payload as JSON or as `field=value`."""

import json
from typing import Any

from pydantic import ValidationError

from duly.cli.nouns import MisuseError, did_you_mean
from duly.errors import UnknownKindError
from duly.job import Job
from duly.jobs import CATALOGUE, job_class


def job_from(kind: str, fields: list[str], payload: str | None) -> Job:
    """Return the job that the words describe; fields win over the payload.

    Raises:
        MisuseError: There is no such kind, or the payload does not fit it.
    """
    try:
        job = job_class(kind)
    except UnknownKindError as error:
        hint = did_you_mean(kind, CATALOGUE)
        raise MisuseError(f"{error}{hint}") from None
    values = _object(payload) | dict(map(_field, fields))
    try:
        return job.model_validate(values)
    except ValidationError as error:
        raise MisuseError(_explain(error, job)) from None


def changes_from(fields: list[str] | None) -> dict[str, Any]:
    """Return what `field=value` words say.

    Raises:
        MisuseError: One of them is not FIELD=VALUE.
    """
    return dict(map(_field, fields or []))


def _object(payload: str | None) -> dict[str, Any]:
    if payload is None:
        return {}
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise MisuseError(f"the payload is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MisuseError('the payload must be a JSON object, such as {"order_id": 7}')
    return value


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise MisuseError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _explain(error: ValidationError, job: type[Job]) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            hint = did_you_mean(path, job.model_fields)
            fields = ", ".join(job.model_fields) or "none"
            problems.append(f"{job.kind} has no field {path!r}{hint or f'; fields: {fields}'}")
        else:
            problems.append(f"{path}: {problem['msg']}")
    return "; ".join(problems)
