"""A task as bytes: taskiq's JSON message, encoded by msgspec, so that stock taskiq can read it.

Bytes from the stream are untrusted: they are bounded in size and depth, decoded as JSON only, and
no error quotes them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from duly.clock import to_unix_ms
from duly.encodable import encodable
from duly.errors import MalformedTaskError, PayloadTooLargeError
from duly.job import Job
from duly.payload import form_of
from duly.schema_words import MISFIT
from duly.task import Attempt, Task

PAYLOAD_LIMIT_BYTES = 256 * 1024
"""The largest encoded task that a client accepts."""
MESSAGE_LIMIT_BYTES = 1024 * 1024
"""The largest message that a worker decodes: other programs may write what our client refuses."""
ID_LIMIT = 256
_UNIQUE_MS = 3_600_000
"""For how long a task holds its lock that does not say so: it was enqueued by an older version."""
_MOST_MS = 2**53
ERROR_LIMIT = 2_000
TRACEBACK_LIMIT = 16_000


class Message(msgspec.Struct, gc=False, omit_defaults=False):
    """taskiq's message: the payload travels as keyword arguments, our options as labels.

    Labels of ours: `max_attempts`, `timeout_ms`, `deadline_ms`, `lock`, `unique_ms`,
    `retention_ms`, `headers`.
    """

    task_id: str
    task_name: str
    labels: dict[str, Any] = {}
    labels_types: dict[str, int] | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


def encode(message: Message) -> bytes:
    """Return the message as JSON."""
    return _encode(message)


def encode_bounded(message: Message) -> bytes:
    """Return the message as JSON, if a queue accepts as much.

    Raises:
        PayloadTooLargeError: It does not.
    """
    data = _encode(message)
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise PayloadTooLargeError(message.task_name, len(data), PAYLOAD_LIMIT_BYTES)
    return data


def decode(data: bytes) -> Message:
    """Return the message in `data`.

    Raises:
        MalformedTaskError: Too large, too deep, not JSON, not a taskiq message, or an id that
            cannot be kept.
    """
    if len(data) > MESSAGE_LIMIT_BYTES:
        raise MalformedTaskError(f"{len(data)} bytes, the limit is {MESSAGE_LIMIT_BYTES}")
    try:
        message = _decode(data)
    except RecursionError:
        raise MalformedTaskError("nested too deeply") from None
    except msgspec.ValidationError as error:
        # msgspec's validation errors name types and paths, never values.
        raise MalformedTaskError(f"not a task message: {error}"[:200]) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedTaskError("not JSON") from None
    if not 0 < len(message.task_id) <= ID_LIMIT or not message.task_id.isprintable():
        raise MalformedTaskError(f"task_id must have 1 to {ID_LIMIT} printable characters")
    return message


def arguments_of(message: Message) -> dict[str, Any]:
    """Return what a task is called with, by name; positional arguments under `*args`."""
    return {"*args": message.args, **message.kwargs} if message.args else message.kwargs


def payload_of(message: Message, job_class: type[Job]) -> Job:
    """Return the typed payload.

    Raises:
        MalformedTaskError: It does not fit the job; names the fields, not their values.
    """
    return payload_reader(job_class)(message)


def payload_reader(job_class: type[Job]) -> Callable[[Message], Job]:
    """Return `payload_of` for one kind, for who reads many: what can be looked up once is."""
    decode_payload = form_of(job_class).decode

    def read(message: Message) -> Job:
        if message.args:
            raise MalformedTaskError("positional arguments: a payload is keyword arguments only")
        try:
            job = decode_payload(message.kwargs)
        except ValidationError as error:
            raise MalformedTaskError(_misfit(job_class, error)) from None
        except RecursionError:
            raise MalformedTaskError("payload nested too deeply") from None
        return job

    return read


def _misfit(job_class: type[Job], error: ValidationError) -> str:
    """Name the fields that do not fit. A key that is no name of a field may be anybody's bytes."""
    wrong = ", ".join(
        f"{'.'.join(_named(part) for part in item['loc']) or 'payload'}: {_reason(item)}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return f"payload does not fit {job_class.__name__}: {wrong}"[:500]


def _reason(item: ErrorDetails) -> str:
    """Return what is wrong with a field: of other errors than ours the text quotes values."""
    return item["msg"] if item["type"] == MISFIT else item["type"]


def _named(part: int | str) -> str:
    return str(part) if isinstance(part, int) or part.isidentifier() else "?"


def lock_of(message: Message | Task) -> str:
    """Return the digest of a task's unique lock, or ""."""
    lock = message.labels.get("lock", "")
    return lock if isinstance(lock, str) else ""


def unique_ms_of(message: Message | Task) -> int:
    """Return for how many ms a task that begins anew holds its unique lock."""
    value = message.labels.get("unique_ms")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MOST_MS:
        return _UNIQUE_MS
    return value


def lock_in(data: bytes | None) -> str:
    """Return the digest of the unique lock in an encoded message; "": none that can be read."""
    try:
        return lock_of(decode(data or b""))
    except MalformedTaskError:
        return ""


def whole(labels: dict[str, Any], name: str, default: int) -> int:
    """Return the label `name` as a number not below zero.

    Raises:
        MalformedTaskError: It is there and is something else.
    """
    value = labels.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise MalformedTaskError(f"label {name} is not a whole number")
    return int(value)


def encode_attempt(attempt: Attempt) -> bytes:
    """Return an attempt as one line of JSON, error and traceback shortened.

    What is empty is left out: a task that succeeds at once has a line of some 150 bytes.
    """
    facts = {
        "started": to_unix_ms(attempt.started_at) if attempt.started_at else 0,
        "waiting": to_unix_ms(attempt.waiting_since) if attempt.waiting_since else 0,
        "duration": round(attempt.duration / timedelta(milliseconds=1)),
        "server": attempt.server,
        "error": encodable(attempt.error[:ERROR_LIMIT]),
        "traceback": encodable(attempt.traceback[-TRACEBACK_LIMIT:]),
        "trace": attempt.trace_id,
    }
    line: dict[str, Any] = {
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "at": round(attempt.at.timestamp() * 1000),
    }
    return msgspec.json.encode(line | {name: value for name, value in facts.items() if value})
