"""Payloads in forms: what was typed over what was shown, with its secrets masked."""

import json
from collections.abc import Mapping
from typing import Any, Final

from duly.errors import DulyError
from duly_monitor.redaction import MASK, mask

BYTES_SHOWN: Final = 4_096
"""Of a message that cannot be read."""


class PayloadError(DulyError):
    """What was typed is no payload, or not one that can take the place of the old."""


def typed(payload: Mapping[str, Any]) -> str:
    """Return a payload as a form shows it: indented JSON, whole, secrets masked."""
    return json.dumps(mask(payload), indent=2, ensure_ascii=False, default=str)


def read_payload(text: str) -> dict[str, Any]:
    """Return the JSON object that was typed.

    Raises:
        PayloadError: It is none.
    """
    try:
        found = json.loads(text or "{}", parse_constant=_refuse)
    except RecursionError:
        raise PayloadError("the payload is nested too deeply") from None
    except ValueError as error:
        raise PayloadError(f"the payload is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise PayloadError("the payload must be a JSON object: {…}")
    return found


def changes_in(old: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the fields of a payload that were changed in a form; those left masked stay.

    Raises:
        PayloadError: It is no JSON object, a field was removed, or a mask is left in a field that
            was changed.
    """
    new = read_payload(text)
    shown = json.loads(typed(old))
    if gone := [name for name in shown if name not in new]:
        raise PayloadError(f"{gone[0]}: a field cannot be removed here; leave it as it was")
    changes = {name: value for name, value in new.items()
               if name not in shown or shown[name] != value}  # fmt: skip
    for name, value in changes.items():
        if MASK in json.dumps(value, ensure_ascii=False):
            raise PayloadError(f"{name}: {MASK} stands for a secret; type its value")
    return changes


def escaped(data: bytes) -> str:
    """Return bytes as text that anybody may read: all but printable ASCII escaped, and bounded."""
    text = "".join(
        chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}"  # noqa: PLR2004 - ASCII
        for byte in data[:BYTES_SHOWN]
    )
    more = len(data) - BYTES_SHOWN
    return f"{text}… ({more:,} more bytes)" if more > 0 else text


def _refuse(word: str) -> Any:  # noqa: ANN401 - json's
    raise ValueError(f"{word} is not JSON")
