"""Masks e-mail addresses in what is written and stored: `j***@example.com`, and a keyed digest."""

import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final

from duly.runtime.settings import LogSettings

_MASK: Final = "***"
_DIGEST_DIGITS: Final = 16
_CUSTOMERS: Final = 10_000
"""How many addresses keep their mask at hand."""
# RFC 5322's local part: atoms with dots, or anything in quotes, which may be escaped themselves.
_ATOMS: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_QUOTED: Final = r'(?<!\\)"(?:[^"\\]|\\[\s\S])*+"|\\"[^"\\]*+\\"'
# The domain has a dot and ends in letters: entry@2026-11-28T14:38:45Z is a task, not an address.
# A local part is looked at once, from its beginning, and however long: `re` holds the interpreter's
# lock, so that a text which took seconds would stop the heartbeat, too.
_ADDRESS: Final = re.compile(
    rf"(?P<local>(?<!{_ATOMS}){_ATOMS}++|{_QUOTED})"
    r"(?P<domain>@(?:[\w-]+\.)+[^\W\d_]{2,})"
)
_BEFORE: Final = re.compile(r"(?:[^\W\d]\w*=)?[^\w\"]*")
"""What stands before a local part rather than in it: the name of a field, a quote, a slash."""


class Mask:
    """Masks addresses. Without a key there are no digests.

    Args:
        key: Of the digests: who has it can tell whether an address is that of a digest, and nobody
            else can.
    """

    def __init__(self, key: str = "") -> None:
        self._key = key.encode()
        self.customer = lru_cache(_CUSTOMERS)(self._customer)
        """Address → its mask and its digest, which is empty without a key."""

    @property
    def has_key(self) -> bool:
        """Whether there are digests."""
        return bool(self._key)

    def email(self, address: str) -> str:
        """Return the mask of an address, or of whatever stands in its place."""
        local, at, domain = address.rpartition("@")
        return f"{local[:1]}{_MASK}{at}{domain}" if at else _MASK

    def text(self, text: str) -> str:
        """Return a text with every address in it masked. A host without a dot is no address."""
        if "@" not in text:
            return text
        return _ADDRESS.sub(_masked, text)

    def _customer(self, address: str) -> tuple[str, str]:
        if not self._key:
            return self.email(address), ""
        # Upper and lower case reach the same mailbox, everywhere but in theory.
        seen = address.strip().casefold().encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._key, seen, hashlib.sha256).hex()
        return self.email(address), digest[:_DIGEST_DIGITS]


def _masked(found: re.Match[str]) -> str:
    """Return an address of a text with the first character of its name."""
    local = found["local"]
    before = _BEFORE.match(local)
    kept = before.end() + 1 if before else 1
    return f"{local[:kept]}{_MASK}{found['domain']}"


def mask_of(settings: LogSettings) -> Mask | None:
    """Return the mask that the settings ask for; None: addresses stand as they are."""
    if not settings.mask_email:
        return None
    return Mask(settings.mask_key.get_secret_value() if settings.mask_key else "")
