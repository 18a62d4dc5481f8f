"""A task as bytes: taskiq's JSON message, encoded by msgspec, so that stock taskiq can read it.

Bytes from the stream are untrusted: they are bounded in size and depth, decoded as JSON only, and
no error quotes them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from pydantic import ValidationError

from duly.clock import to_unix_ms
from duly.errors import MalformedTaskError
from duly.job import Job
from duly.task import Attempt

PAYLOAD_LIMIT_BYTES = 256 * 1024
"""The largest encoded task that a client accepts."""
MESSAGE_LIMIT_BYTES = 1024 * 1024
"""The largest message that a worker decodes: strangers may write what our client refuses."""
ID_LIMIT = 256
ERROR_LIMIT = 2_000
TRACEBACK_LIMIT = 16_000


class Message(msgspec.Struct, gc=False, omit_defaults=False):
    """taskiq's message: the payload travels as keyword arguments, our options as labels.

    Labels of ours: `max_attempts`, `timeout_ms`, `deadline_ms`, `lock`, `retention_ms`, `headers`.
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


def decode(data: bytes) -> Message:
    """Return the message in `data`.

    Raises:
        MalformedTaskError: Too large, too deep, not JSON, not a taskiq message, or an id that
            can not be kept.
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


def payload_of(message: Message, job_class: type[Job]) -> Job:
    """Return the typed payload.

    Raises:
        MalformedTaskError: It does not fit the job; names the fields, not their values.
    """
    return payload_reader(job_class)(message)


def payload_reader(job_class: type[Job]) -> Callable[[Message], Job]:
    """Return `payload_of` for one kind, for who reads many: what can be looked up once is."""
    # What `model_validate` calls once it has looked at options that are not given here.
    validate = job_class.__pydantic_validator__.validate_python

    def read(message: Message) -> Job:
        if message.args:
            raise MalformedTaskError("positional arguments: a payload is keyword arguments only")
        try:
            job: Job = validate(message.kwargs)
        except ValidationError as error:
            raise MalformedTaskError(_misfit(job_class, error)) from None
        except RecursionError:
            raise MalformedTaskError("payload nested too deeply") from None
        return job

    return read


def _misfit(job_class: type[Job], error: ValidationError) -> str:
    wrong = ", ".join(
        f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['type']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return f"payload does not fit {job_class.__name__}: {wrong}"[:500]


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
    """Return an attempt as one line of JSON, error and traceback shortened."""
    return msgspec.json.encode(
        {
            "number": attempt.number,
            "outcome": attempt.outcome.value,
            "at": round(attempt.at.timestamp() * 1000),
            "started": to_unix_ms(attempt.started_at) if attempt.started_at else 0,
            "duration": round(attempt.duration / timedelta(milliseconds=1)),
            "server": attempt.server,
            "error": _printable(attempt.error[:ERROR_LIMIT]),
            "traceback": _printable(attempt.traceback[-TRACEBACK_LIMIT:]),
            "trace": attempt.trace_id,
        }
    )


def _printable(text: str) -> str:
    """Replace what is not text (lone surrogates), which JSON in UTF-8 can not carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
