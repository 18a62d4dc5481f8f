"""Speaks with the identity provider: where to log in, and who came back from there."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import httpx
from joserfc.jwk import Key

from duly.clock import Clock
from duly.runtime.monitor_settings import OidcSettings
from duly.runtime.secretfile import SecretFile, secret_of
from duly_monitor.oidc.errors import LoginRefusedError, ProviderDownError
from duly_monitor.oidc.id_tokens import UnknownKeyError, groups_of, keys_of, verified
from duly_monitor.oidc.log_in import LogIn
from duly_monitor.oidc.metadata import WELL_KNOWN, Metadata, metadata_of

FRESH_SECONDS: Final = 3_600.0
"""How long configuration and keys are used before they are asked for again."""
REST_SECONDS: Final = 30.0
"""Between two questions for keys: a token may name any key, and each would be one question."""
_MOST_BYTES: Final = 1_048_576
_MOST_AT_ONCE: Final = 8
_LONGEST_NAME: Final = 128
_OK: Final = 200
_EMAIL: Final = "email"
_VERIFIED: Final = "email_verified"
_YES: Final = (1, "1", "true")


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in at the provider."""

    user: str
    groups: tuple[str, ...]
    token: str = ""
    """The ID token, by which the provider knows at a log-out whose session ends."""


class Provider:
    """The identity provider of one monitor.

    Args:
        settings: `monitor.oidc`.
        clock: Says whether a token has expired.
    """

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        path = settings.client_secret_file
        self._file = SecretFile("monitor.oidc.client_secret_file", path) if path else None
        self._found: tuple[Metadata, float] | None = None
        self._keys: tuple[list[Key], float] | None = None
        self._turn, self._slots = asyncio.Lock(), asyncio.Semaphore(_MOST_AT_ONCE)
        self._tls: ssl.SSLContext | None = None

    async def address(self, log_in: LogIn) -> str:
        """Return where a browser goes to log in.

        Raises:
            ProviderDownError: The provider's configuration cannot be read.
        """
        metadata = await self._metadata()
        digest = hashlib.sha256(log_in.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": log_in.redirect,
            "scope": " ".join(self._settings.scopes),
            "state": log_in.state,
            "nonce": log_in.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return _with(metadata.authorization_endpoint, asked)

    async def farewell(self, back: str, token: str = "") -> str:
        """Return where a browser goes to log out of the provider too; "": it offers no such place.

        Args:
            back: Where the provider sends the browser afterwards.
            token: The ID token of who logs out. Without it some providers ask for a confirmation,
                and some refuse.

        Raises:
            ProviderDownError: The provider's configuration cannot be read.
        """
        place = (await self._metadata()).end_session_endpoint
        asked = {"client_id": self._settings.client_id, "post_logout_redirect_uri": back}
        if token:
            asked["id_token_hint"] = token
        return _with(place, asked) if place else ""

    async def person(self, log_in: LogIn, *, code: str, issuer: str | None) -> Person:
        """Return who logged in, by the code that came back with the browser.

        Args:
            log_in: What was remembered.
            code: For which the provider gives the tokens, once.
            issuer: Who sent the browser back, as it claims; None: nobody is named.

        Raises:
            LoginRefusedError: The code or the token is not right.
            ProviderDownError: The provider does not answer.
        """
        metadata = await self._metadata()
        # A code of another provider must not be shown to this one (RFC 9207).
        if issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise LoginRefusedError("the answer does not name its issuer, as this provider does")
        if issuer is not None and issuer != metadata.issuer:
            raise LoginRefusedError("the answer is of another issuer than monitor.oidc.issuer")
        tokens = await self._tokens(metadata, log_in, code)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            problem = "it gave no ID token (is 'openid' in monitor.oidc.scopes?)"
            raise ProviderDownError(metadata.token_endpoint, problem)
        claims = await self._claims(metadata, token, log_in.nonce)
        path = self._settings.groups_claim
        if groups_of(claims, path) is None and metadata.userinfo_endpoint:
            claims = {**await self._userinfo(metadata, tokens, claims["sub"]), **claims}
        if path == _EMAIL and not self._is_vouched(claims):
            raise LoginRefusedError(
                "the provider has not verified your e-mail address, or does not say so "
                "(monitor.oidc.email_verified_claim)"
            )
        return Person(self._name(claims), groups_of(claims, path) or (), token)

    def _name(self, claims: Mapping[str, Any]) -> str:
        """Return what a person is called here: an address only if it is surely theirs."""
        path = self._settings.user_claim
        name = "" if path == _EMAIL and not self._is_vouched(claims) else claims.get(path)
        subject: str = claims["sub"]
        user = name if isinstance(name, str) and name.strip() else subject
        return user.strip()[:_LONGEST_NAME]

    def _is_vouched(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether the provider says that the e-mail address is this person's."""
        path = self._settings.email_verified_claim
        if not path:
            return claims.get(_VERIFIED, True) is True
        # The standard's claim is a boolean. Others, such as Entra's, come as texts and numbers too.
        return claims.get(path) is True or (path != _VERIFIED and claims.get(path) in _YES)

    async def _claims(self, metadata: Metadata, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token; a key that is not known yet is looked for once."""
        for known in (await self._known_keys(metadata), None):
            keys = known if known is not None else await self._known_keys(metadata, anew=True)
            try:
                return verified(
                    token,
                    keys,
                    issuer=metadata.issuer,
                    client_id=self._settings.client_id,
                    nonce=nonce,
                    now=self._clock.now().timestamp(),
                )
            except UnknownKeyError:
                if known is None:
                    raise
        raise AssertionError  # pragma: no cover - the second turn returns or raises

    async def _known_keys(self, metadata: Metadata, *, anew: bool = False) -> Sequence[Key]:
        async with self._alone(metadata.jwks_uri):
            now = self._clock.monotonic()
            found = self._keys
            if found is not None and now - found[1] < (REST_SECONDS if anew else FRESH_SECONDS):
                return found[0]
            try:
                keys = keys_of(await self._document(metadata.jwks_uri))
            except ProviderDownError:
                if found is None or anew:
                    raise
                return found[0]  # Signatures can still be checked.
            self._keys = (keys, now)
            return keys

    async def _metadata(self) -> Metadata:
        issuer = self._settings.issuer
        place = issuer.rstrip("/") + WELL_KNOWN
        async with self._alone(place):
            now, found = self._clock.monotonic(), self._found
            if found is not None and now - found[1] < FRESH_SECONDS:
                return found[0]
            metadata = metadata_of(await self._document(place), issuer=issuer, place=place)
            self._found = (metadata, now)
            return metadata

    @asynccontextmanager
    async def _alone(self, place: str) -> AsyncIterator[None]:
        """Let one ask and the others wait, but not one after another for a provider that hangs."""
        seconds = self._settings.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise ProviderDownError(place, f"no answer in {seconds:g} s") from None
        try:
            yield
        finally:
            self._turn.release()

    async def _document(self, place: str) -> dict[str, Any]:
        status, document = await self._ask("GET", place)
        if status != _OK:
            raise ProviderDownError(place, f"it answered {status}")
        return document

    async def _tokens(self, metadata: Metadata, log_in: LogIn, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": log_in.redirect,
            "code_verifier": log_in.verifier,
        }
        client, headers = self._settings.client_id, {}
        secret = secret_of("monitor.oidc.client_secret", self._settings.client_secret, self._file)
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            text = f"{quote_plus(client)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"
        else:
            form |= {"client_id": client, **({"client_secret": secret} if secret else {})}
        place = metadata.token_endpoint
        status, answer = await self._ask("POST", place, form=form, headers=headers)
        if status == _OK:
            return answer
        named = str(answer.get("error", ""))[:60]
        if named == "invalid_grant":
            raise LoginRefusedError("the provider refused the code of this log-in: log in again")
        detail = f"it answered {status} {named}".rstrip()
        raise ProviderDownError(place, detail)

    async def _userinfo(
        self, metadata: Metadata, tokens: Mapping[str, Any], subject: str
    ) -> dict[str, Any]:
        """Return what the provider says of a person beside the token; {}: nothing."""
        token = tokens.get("access_token")
        if not isinstance(token, str) or not token.isascii():
            return {}
        headers = {"Authorization": f"Bearer {token}"}
        status, found = await self._ask("GET", metadata.userinfo_endpoint, headers=headers)
        if status != _OK:
            return {}
        answered = found.get("sub")
        if not isinstance(answered, str) or not hmac.compare_digest(
            answered.encode(), subject.encode()
        ):
            raise LoginRefusedError("the provider's answers are about two persons")
        return found

    async def _ask(
        self,
        method: str,
        place: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the document of one request; {} for an error without one."""
        seconds = self._settings.timeout.total_seconds()
        try:
            async with (
                self._slots,
                asyncio.timeout(seconds),
                httpx.AsyncClient(verify=self._trust(), timeout=seconds) as client,
                client.stream(
                    method,
                    place,
                    data=form,
                    headers={"Accept": "application/json", **(headers or {})},
                ) as response,
            ):
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise ProviderDownError(place, "its answer is larger than 1 MiB")
                status = response.status_code
        except TimeoutError:
            raise ProviderDownError(place, f"no answer in {seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderDownError(place, str(error) or type(error).__name__) from error
        return status, _object(body, place, status)

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = (
                ssl.create_default_context(cafile=self._settings.ca_file)
                if self._settings.ca_file
                else httpx.create_ssl_context()
            )
        return self._tls


def _object(body: bytes, place: str, status: int) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if status == _OK:
        raise ProviderDownError(place, "its answer is no JSON object")
    return {}


def _with(place: str, asked: Mapping[str, str]) -> str:
    return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"
