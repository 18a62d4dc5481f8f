"""Sessions without a store: a cookie that says who is logged in until when, and is signed.

Any replica reads what another has signed. The first key signs; all of them verify, so that a new
key is put in front, and the old one taken away once its sessions have ended.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from duly.clock import Clock

_SALT: Final = b"duly monitor session"
_MOST_BYTES = 4_096
"""Of a cookie, its name included: browsers keep no larger one."""
LEAST_KEY_CHARACTERS: Final = 32


class Signed(BaseModel):
    """What a cookie says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    user: str
    ends: int
    """In seconds of Unix time."""
    role: str = ""
    use: str = "session"
    """A cookie for one use is no cookie for another."""
    data: dict[str, str] = {}


@lru_cache(maxsize=4)
def key_of_password(password: str) -> str:
    """Return a key made of a password that all replicas know.

    It takes much work to make, since whoever has a cookie could else try passwords quickly. It is
    made once: it is asked for with each request.
    """
    key = hashlib.scrypt(password.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)
    return key.hex()


class Sessions:
    """Signs and reads the cookies of one monitor."""

    def __init__(
        self,
        keys: Callable[[], Sequence[str]],
        *,
        age: timedelta,
        path: str,
        clock: Clock,
    ) -> None:
        """Take what reads the keys.

        Args:
            keys: Returns them as they are now, the signing one first; one at least.
            age: How long a session lasts.
            path: Under which path the browser sends the cookie.
            clock: Says when a session has ended.
        """
        self._read_keys = keys
        self._age, self._path, self._clock = age, path or "/", clock

    @property
    def _keys(self) -> list[bytes]:
        return [hashlib.sha256(key.encode()).digest() for key in self._read_keys()]

    def begin(
        self,
        request: Request,
        response: Response,
        user: str,
        role: str,
        data: dict[str, str] | None = None,
    ) -> None:
        """Log a user in: set the cookie of a session, with what else is known of the user."""
        ends = self._now() + round(self._age.total_seconds())
        self._set(
            request,
            response,
            Signed(user=user, ends=ends, role=role, data=data or {}),
            round(self._age.total_seconds()),
        )

    def of(self, request: Request) -> Signed | None:
        """Return the session of a request; None when it has none, or one that has ended."""
        return self._read(request, "session")

    def end(self, request: Request, response: Response) -> None:
        """Log a user out: take the cookie away."""
        self._drop(request, response, "session")

    def remember(
        self, request: Request, response: Response, use: str, data: dict[str, str]
    ) -> None:
        """Keep something in the browser for ten minutes, such as the state of a log-in."""
        signed = Signed(user="", ends=self._now() + 600, use=use, data=data)
        self._set(request, response, signed, 600)

    def keep(self, request: Request, response: Response, use: str, data: dict[str, str]) -> None:
        """Keep something in the browser as long as a session, unless it is too large for a cookie.

        Then nothing is kept, and what was kept before is taken away.
        """
        age = round(self._age.total_seconds())
        signed = Signed(user="", ends=self._now() + age, use=use, data=data)
        if len(self._value(signed)) + len(_name(use)) < _MOST_BYTES:
            self._set(request, response, signed, age)
        elif _name(use) in request.cookies:
            self._drop(request, response, use)

    def recall(self, request: Request, use: str) -> dict[str, str] | None:
        """Return what `remember` or `keep` kept; None when it is not there, or too old."""
        found = self._read(request, use)
        return None if found is None else found.data

    def forget(self, request: Request, response: Response, use: str) -> None:
        """Take away what `remember` or `keep` kept."""
        self._drop(request, response, use)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _set(self, request: Request, response: Response, signed: Signed, seconds: int) -> None:
        response.set_cookie(
            _name(signed.use),
            self._value(signed),
            max_age=seconds,
            path=self._path,
            secure=request.scope.get("scheme") == "https",
            httponly=True,
            samesite="lax",
        )

    def _value(self, signed: Signed) -> str:
        text = base64.urlsafe_b64encode(signed.model_dump_json().encode()).decode().rstrip("=")
        return f"{text}.{self._signature(self._keys[0], text)}"

    def _drop(self, request: Request, response: Response, use: str) -> None:
        response.delete_cookie(
            _name(use),
            path=self._path,
            secure=request.scope.get("scheme") == "https",
            httponly=True,
            samesite="lax",
        )

    def _read(self, request: Request, use: str) -> Signed | None:
        text, _, signature = request.cookies.get(_name(use), "")[:_MOST_BYTES].partition(".")
        if not text or not signature.isascii() or not text.isascii():
            return None
        keys = self._keys
        if not any(hmac.compare_digest(signature, self._signature(key, text)) for key in keys):
            return None
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            signed = Signed.model_validate_json(raw)
        except (binascii.Error, ValueError):
            return None
        return signed if signed.use == use and signed.ends > self._now() else None

    @staticmethod
    def _signature(key: bytes, text: str) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _name(use: str) -> str:
    return f"duly-{use}"
