"""A delivery: one entry of the stream, read by this server, with its counts."""

import re

import msgspec

_TRIES = re.compile(rb"(\d{1,9}) (\d{1,9})(?: (\d{1,9}))?(?: (\d{1,9}) (\d{1,15}))?(?: (1))?")


class Delivery(msgspec.Struct, frozen=True):
    """One entry of the stream, read by this server."""

    stream_id: bytes
    data: bytes | None
    """The message; None when another program wrote an entry without one."""
    attempts: int = 0
    crashes: int = 0
    uncounted_failures: int = 0
    """Attempts that failed and did not count."""
    deferrals: int = 0
    """Times it was deferred because the server that read it did not know its kind."""
    deferred_since_ms: int = 0
    """Since when no live server knew its kind; 0: one did, or it was never deferred."""
    has_token: bool = False
    """It was deferred until a token of its kind's rate was due, and that is reserved for it."""
    retried: bool = False
    """It was in another state before, and may have history there."""

    @property
    def tries(self) -> str:
        """The counts as the scripts keep them."""
        return tries_text(self.attempts, self.crashes, self.uncounted_failures)

    @property
    def tries_with_token(self) -> str:
        """The counts, and a token reserved."""
        return tries_text(self.attempts, self.crashes, self.uncounted_failures, has_token=True)


def tries_text(
    attempts: int,
    crashes: int,
    uncounted_failures: int = 0,
    *,
    deferrals: int = 0,
    since_ms: int = 0,
    has_token: bool = False,
) -> str:
    """Return what is kept beside a task, as the scripts keep it.

    "attempts crashes", then uncounted failures, then deferrals and since when, then 1 for a token;
    each only as far as there is something to say.
    """
    if has_token:
        return f"{attempts} {crashes} {uncounted_failures} {deferrals} {since_ms} 1"
    if deferrals:
        return f"{attempts} {crashes} {uncounted_failures} {deferrals} {since_ms}"
    return (
        f"{attempts} {crashes} {uncounted_failures}"
        if uncounted_failures
        else f"{attempts} {crashes}"
    )


def delivery_of(stream_id: bytes, fields: list[bytes] | None) -> Delivery:
    """Read a stream entry; what is not ours counts for nothing."""
    if fields and len(fields) == 2 and fields[0] == b"data":  # noqa: PLR2004 - the hot case
        return Delivery(stream_id, fields[1])
    values = dict(zip((fields or [])[::2], (fields or [])[1::2], strict=True))
    tries = values.get(b"tries")
    counts = _TRIES.fullmatch(tries or b"")
    attempts, crashes, uncounted_failures, deferrals, since_ms, token = (
        map(int, counts.groups(b"0")) if counts else (0, 0, 0, 0, 0, 0)
    )
    return Delivery(
        stream_id,
        values.get(b"data"),
        attempts,
        crashes,
        uncounted_failures,
        deferrals,
        since_ms,
        has_token=bool(token),
        retried=tries is not None,
    )
