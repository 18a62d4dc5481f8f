"""Who is asking: by a token, a session, a password, or the word of a proxy that is named."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from duly.clock import Clock
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor.attempts import Attempts
from duly_monitor.permissions import CHANGES, NOBODY, ROLES, Identity, Permission, Role
from duly_monitor.sessions import Sessions
from duly_monitor.settings import Passwords, password_of

ENTER: Final = "Enter the user name and password of this monitor."
LOG_IN_AGAIN: Final = "You are not logged in, or your session has ended. Nothing has been changed."
GROUPS: Final = "groups"
"""Holds, in the data of a session, the groups of its user; a line each."""
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is denied."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """Who failed to log in, as was claimed; "": nobody tried."""
    tried: bool = False
    """It was a failed log-in, not the lack of one."""


class Authentication:
    """Finds out who sends a request, as `monitor.access` says."""

    def __init__(
        self, settings: MonitorSettings, sessions: Sessions, passwords: Passwords, clock: Clock
    ) -> None:
        self._settings, self._sessions = settings, sessions
        self._attempts = Attempts(clock)
        self._passwords, self._roles = passwords, _roles(settings)
        self._tokens = [
            (token.sha256, self._limited(Identity(name, "token", _permissions(token.scopes))))
            for name, token in settings.tokens.items()
        ]

    @property
    def by_page(self) -> bool:
        """Whether people log in by a page of the monitor."""
        return self._settings.access in ("basic", "oidc")

    def identity(self, request: Request) -> Identity | Refusal:
        """Return who sends a request, or why it is denied."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        found: Identity | Refusal
        if scheme.lower() == "bearer" and self._tokens:
            return self._by_token(request, credentials.strip())
        match self._settings.access:
            case "local":
                found = self._of_role("local", self._settings.role or Role.ADMIN.value)
            case "basic":
                found = self._by_password_or_session(request, scheme, credentials)
            case "proxy":
                found = self._by_proxy(request)
            case "oidc":
                found = self._by_groups(request)
            case _:
                text = "Send a token of this monitor."
                found = Refusal(401, text, {"WWW-Authenticate": "Bearer"})
        return found

    def still_views(self, request: Request) -> bool:
        """Tell whether the sender of a request that is still answered may view what is here."""
        found = self.identity(request)
        return isinstance(found, Identity) and Permission.VIEW in found.permissions

    def log_in(self, request: Request, user: str, password: str) -> Identity | Refusal:
        """Return the user of a name and a password, or why there is none."""
        peer = request.client.host if request.client else ""
        wait = self._attempts.wait(peer, user)
        if wait:
            return _too_often(wait)
        known = self._passwords.of(user)
        # A name that does not exist takes as long as a wrong password.
        wanted = _digest(" " + user if known is None else known)
        right = hmac.compare_digest(_digest(password), wanted)
        if known is None or not right:
            self._attempts.failed(peer, user)
            return Refusal(401, "The user name or the password is wrong.", user=user, tried=True)
        self._attempts.succeeded(peer, user)
        return self._of_role(user, self._roles[user])

    def _by_password_or_session(
        self, request: Request, scheme: str, credentials: str
    ) -> Identity | Refusal:
        challenge = {"WWW-Authenticate": 'Basic realm="duly", charset="UTF-8"'}
        if scheme.lower() == "basic":
            user, password = _decoded(credentials)
            found = self.log_in(request, user, password)
            if isinstance(found, Refusal):
                return Refusal(
                    found.status,
                    found.detail,
                    {**found.headers, **(challenge if found.tried else {})},
                    user=found.user,
                    tried=found.tried,
                )
            return found
        session = self._sessions.of(request)
        # Who was taken out of the settings is out at once, and who got another role has it.
        role = self._roles.get(session.user) if session else None
        if session is None or role is None:
            if _is_browser(request):
                # It would ask by a window of its own, and keep what is typed there: logging out
                # would then end nothing. Of Bearer it knows nothing.
                return Refusal(401, LOG_IN_AGAIN, {"WWW-Authenticate": "Bearer"})
            return Refusal(401, ENTER, challenge)
        return self._of_role(session.user, role)

    def _by_token(self, request: Request, token: str) -> Identity | Refusal:
        peer = request.client.host if request.client else ""
        wait = self._attempts.wait(peer, "")
        if wait:
            return _too_often(wait)
        digest, found = hashlib.sha256(token.encode()).hexdigest(), NOBODY
        for known, identity in self._tokens:
            if hmac.compare_digest(digest, known):
                found = identity
        if found is NOBODY:
            self._attempts.failed(peer, "")
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return Refusal(401, "This token is none of this monitor.", headers, tried=True)
        return found

    def _by_proxy(self, request: Request) -> Identity | Refusal:
        proxy = self._settings.proxy
        user = _header(request, proxy.user_header).strip()[:_LONGEST_NAME]
        if not request.scope.get("duly.through_proxy"):
            return Refusal(403, "This monitor is reached through its proxy only.")
        if not user:
            return Refusal(401, "The proxy does not say who you are; log in there.")
        groups = _header(request, proxy.groups_header).split(",")
        return self.of_groups(user, (group.strip() for group in groups))

    def _by_groups(self, request: Request) -> Identity | Refusal:
        """Return the user of a session that the identity provider began."""
        session = self._sessions.of(request)
        # Of another access mode: its user may have a name that somebody has at the provider.
        if session is None or GROUPS not in session.data:
            return Refusal(401, "Log in at the identity provider.", {"WWW-Authenticate": "Bearer"})
        return self.of_groups(session.user, session.data[GROUPS].split("\n"))

    def named_groups(self, groups: Iterable[str]) -> str:
        """Return those groups that have a role, for the data of a session: others may be many."""
        named = {name for names in self._settings.roles.values() for name in names}
        return "\n".join(sorted(named & set(groups)))

    def of_groups(self, user: str, groups: Iterable[str]) -> Identity | Refusal:
        """Return a user with the highest role of the groups."""
        named = self._settings.roles
        mine = set(groups)
        held = [role for role in Role if mine & set(named.get(role.value, ()))]
        role = held[-1].value if held else self._settings.role
        if role is None:
            return Refusal(403, f"{user} is in no group that has a role here (monitor.roles).")
        return self._of_role(user, role)

    def _of_role(self, user: str, role: str) -> Identity:
        return self._limited(Identity(user, role, ROLES[Role(role)]))

    def _limited(self, identity: Identity) -> Identity:
        """Take away what nobody has in read-only mode."""
        if not self._settings.read_only:
            return identity
        return Identity(identity.user, identity.role, identity.permissions - CHANGES)


def _roles(settings: MonitorSettings) -> dict[str, str]:
    """Return the role of each user, by name."""
    roles = {name: str(user.role) for name, user in settings.users.items()}
    if password_of(settings):
        roles[settings.username] = settings.role or Role.ADMIN.value
    return roles


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def _header(request: Request, name: str) -> str:
    """Return a header of a proxy, which is UTF-8; the server has read it as Latin-1."""
    text = request.headers.get(name, "")
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _is_browser(request: Request) -> bool:
    """Tell whether a page sends a request: over plain HTTP, browsers leave out Sec-Fetch-Site."""
    headers = request.headers
    accepts = headers.get("accept", "")
    by_page = any(kind in accepts for kind in ("text/html", "text/event-stream"))
    return by_page or "sec-fetch-site" in headers or "origin" in headers


def _permissions(scopes: Iterable[str]) -> frozenset[Permission]:
    roles = {role.value: permissions for role, permissions in ROLES.items()}
    return frozenset().union(
        *(roles[scope] if scope in roles else {Permission(scope)} for scope in scopes)
    )


def _decoded(credentials: str) -> tuple[str, str]:
    """Return user name and password of a Basic header; what is none has no name."""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return "", ""
    user, _, password = text.partition(":")
    return user[:_LONGEST_NAME], password


def _too_often(seconds: int) -> Refusal:
    detail = f"Too many failed log-ins from here. Try again in {seconds} seconds."
    return Refusal(429, detail, {"Retry-After": str(seconds)})
