"""The catalogue of kinds in the broker: what is published of a kind, as bytes and back.

Anybody may have written these bytes: they are bounded, decoded as JSON only, and what cannot be
read is passed over.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from duly.clock import from_unix_ms
from duly.described_job import DescribedJob, described_job
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import KIND_KEYS
from duly.engine.storage.reports import KindReport
from duly.engine.storage.scripts import LIVE_MS
from duly.engine.storage.store import Store
from duly.errors import UnknownKindError
from duly.job import Job, is_name
from duly.job_schema import SchemaError, description_of, policy_of, schema_of

SCHEMA_LIMIT_BYTES = 32 * 1024
"""The largest schema that is published."""
_RECORD_LIMIT_BYTES = 64 * 1024
_LONGEST_DESCRIPTION = 1_000
_MS_DIGITS = 15
_NO_SCHEMA = "-"
"""The digest where there is none."""


class KindRecord(msgspec.Struct, omit_defaults=True):
    """What a process publishes of one kind."""

    queue: str
    app: str = ""
    description: str = ""
    policy: dict[str, Any] = {}
    schema: dict[str, Any] | None = None


class Edition(msgspec.Struct):
    """Who publishes a kind, and when."""

    published_ms: int
    digest: str
    app: str


@dataclass(frozen=True, slots=True)
class Described:
    """A kind as it is to be published."""

    digest: str
    """Of its schema: the same for the same fields."""
    record: bytes
    lacks: str
    """Why it is published without a schema; "": it is not."""


def described(job: type[Job], *, app: str = "") -> Described:
    """Return what is published of a class of jobs."""
    schema, digest, lacks = None, _NO_SCHEMA, ""
    try:
        encoded = msgspec.json.encode(schema_of(job), order="sorted")
    except (SchemaError, ValueError, TypeError, OverflowError, RecursionError) as error:
        lacks = str(error)[:200]
    else:
        if len(encoded) > SCHEMA_LIMIT_BYTES:
            lacks = f"it takes {len(encoded)} bytes, the limit is {SCHEMA_LIMIT_BYTES}"
        else:
            schema = msgspec.json.decode(encoded)
            digest = hashlib.sha256(encoded).hexdigest()[:16]
    record = KindRecord(
        queue=job.policy.queue,
        app=app,
        description=description_of(job)[:_LONGEST_DESCRIPTION],
        policy=policy_of(job),
        schema=schema,
    )
    return Described(digest, msgspec.json.encode(record), lacks)


async def published_kinds(store: Store) -> list[str]:
    """Return the kinds that are published, sorted."""
    found = await store.connection.command("HKEYS", KIND_KEYS.records)
    return sorted(filter(is_name, texts(found)))


async def published_job(store: Store, kind: str) -> type[DescribedJob]:
    """Return a class of jobs for a kind, by what is published of it.

    Raises:
        UnknownKindError: Nobody has published it, or it cannot be read; names those that are.
        SchemaUnreadableError: Its schema is none.
        MissingExtraError: `jsonschema` is not installed.
    """
    if is_name(kind):
        data = await store.connection.command("HGET", KIND_KEYS.records, kind)
        if (record := record_from(data)) is not None:
            return described_job(kind, record.schema, record.policy)
    raise UnknownKindError(kind, tuple(await published_kinds(store)))


def record_from(data: bytes | None) -> KindRecord | None:
    """Read what was published of a kind; None where that is nothing, or cannot be read."""
    if not data or len(data) > _RECORD_LIMIT_BYTES:
        return None
    try:
        return msgspec.json.decode(data, type=KindRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def edition_from(data: bytes | None) -> Edition | None:
    """Read "ms published, process' start ms, digest, app"; None where it is not that."""
    published, *rest = (data or b"").decode(errors="replace").split(" ", 3)
    return _edition(published, rest[1:])


def rival_from(data: bytes | None) -> Edition | None:
    """Read "ms published, digest, app" of another schema; None where it is not that."""
    published, *who = (data or b"").decode(errors="replace").split(" ", 2)
    return _edition(published, who)


def _edition(published: str, who: list[str]) -> Edition | None:
    if (
        not published.isdecimal()
        or len(published) > _MS_DIGITS
        or len(who) < len(("digest", "app"))
    ):
        return None
    return Edition(int(published), who[0], who[1])


def kind_from(
    kind: str,
    data: bytes | None,
    edition: bytes | None,
    rival: bytes | None,
    *,
    servers: tuple[str, ...],
    now_ms: int,
) -> KindReport | None:
    """Read a published kind; None when it is not one."""
    record, published, other = record_from(data), edition_from(edition), rival_from(rival)
    if record is None or published is None:
        return None
    rivals = (
        other is not None
        and other.digest != published.digest
        and other.published_ms + LIVE_MS > now_ms
    )
    return KindReport(
        kind=kind,
        queue=record.queue,
        app=record.app,
        description=record.description,
        policy=record.policy,
        schema=record.schema,
        published_at=from_unix_ms(published.published_ms),
        servers=servers,
        rival_app=other.app if other is not None and rivals else None,
    )
