"""A job from arguments: the kind, and its payload as JSON or as `field=value`.

Kinds are those of the catalogue in the broker: none of their classes is imported, and each word is
read by the schema that was published.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from duly.cli.nouns import MisuseError
from duly.described_job import DescribedJob
from duly.engine.inspection.inspector import Inspector
from duly.errors import InvalidPayloadError, UnknownKindError
from duly.job import Job
from duly.payload import form_of
from duly.payload_schema import explained


async def job_from(inspector: Inspector, kind: str, fields: list[str], payload: str | None) -> Job:
    """Return the job that the arguments describe.

    Raises:
        MisuseError: There is no such kind, the payload does not fit it, or a field is given twice.
        SchemaUnreadableError: What was published of the kind cannot be read.
    """
    given = _object(payload)
    try:
        job = await inspector.kinds.job(kind)
    except UnknownKindError as error:
        raise MisuseError(str(error)) from None
    values = values_of(fields, job)
    if twice := sorted(given.keys() & values.keys()):
        raise MisuseError(f"{twice[0]} is given as FIELD=VALUE and by --payload: give it once")
    try:
        return form_of(job).read(given | values)
    except ValidationError as error:
        raise MisuseError(explained(error)) from None
    except InvalidPayloadError as error:
        raise MisuseError(str(error)) from None


async def catalogue_of(inspector: Inspector, kind: str) -> Mapping[str, type[DescribedJob]]:
    """Return the job of a kind by that kind; nothing where nobody has published it."""
    try:
        return {kind: await inspector.kinds.job(kind)}
    except UnknownKindError:
        return {}


def values_of(fields: Iterable[str] | None, job: type[DescribedJob] | None) -> dict[str, Any]:
    """Return the values of `field=value` arguments, read by the schema of a job.

    Args:
        fields: The arguments.
        job: Its schema says what a word is; None: JSON where it is that, else text.

    Raises:
        MisuseError: One of them is not FIELD=VALUE, or two are for one field.
    """
    schema = (job or DescribedJob).schema_of_payload
    found: dict[str, Any] = {}
    for text in fields or ():
        name, equals, word = text.partition("=")
        if not equals:
            raise MisuseError(f"{text!r} has no =; use FIELD=VALUE")
        if name in found:
            raise MisuseError(f"{name} is given twice: give it once")
        found[name] = schema.read(name, word)
    return found


def _object(payload: str | None) -> dict[str, Any]:
    if payload is None:
        return {}
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MisuseError(f"--payload: invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MisuseError('--payload: must be a JSON object, such as {"order_id": 7}')
    return value
