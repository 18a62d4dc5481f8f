"""Logging in at an identity provider: there, back with a code, and out."""

import hmac
import secrets
from typing import TYPE_CHECKING, Final

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly.errors import DulyError
from duly_monitor.audit import act_of
from duly_monitor.authentication import GROUPS, Authentication, Refusal
from duly_monitor.oidc.errors import LoginRefusedError, ProviderDownError
from duly_monitor.oidc.log_in import LogIn
from duly_monitor.pages.login import path_inside
from duly_monitor.permissions import identify, identity_of
from duly_monitor.render import Renderer
from duly_monitor.sessions import Sessions
from duly_monitor.settings import CALLBACK

if TYPE_CHECKING:
    # What it imports takes 13 MB, which only this access mode needs.
    from duly_monitor.oidc.provider import Provider

_USE: Final = "log-in"
_FAREWELL: Final = "farewell"
"""The ID token, kept for the log-out in a cookie of its own, if it is small enough for one."""
_STALE: Final = (
    "This log-in was not begun in this browser, took more than ten minutes, or was ended already. "
    "Log in again."
)
_LONGEST_REASON: Final = 300


class OidcPages:
    """Answers for `/login`, what lies below it, and `/logout`."""

    def __init__(
        self,
        authentication: Authentication,
        sessions: Sessions,
        renderer: Renderer,
        provider: "Provider",
        redirect_url: str,
    ) -> None:
        self._authentication, self._sessions = authentication, sessions
        self._renderer, self._provider = renderer, provider
        self._redirect_url = redirect_url
        self._log = structlog.get_logger("duly.monitor")

    async def form(self, request: Request) -> Response:
        """Show the way to the provider; after a log-out, the way out of the provider too."""
        wanted = path_inside(self._renderer, request.query_params.get("next", ""))
        if "left" not in request.query_params:
            return self._page(wanted)
        farewell, token = "", (self._sessions.recall(request, _FAREWELL) or {}).get("token", "")
        try:
            farewell = await self._provider.farewell(self._here(request, "/login"), token)
        except ProviderDownError as error:
            self._log.warning("Identity provider failed", error=str(error))
        response = self._page(wanted, left=True, farewell=farewell)
        self._sessions.forget(request, response, _FAREWELL)
        return response

    async def start(self, request: Request) -> Response:
        """Send the browser to the provider."""
        wanted = path_inside(self._renderer, request.query_params.get("next", ""))
        log_in = LogIn(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect=self._redirect_url or self._here(request, CALLBACK),
        )
        try:
            address = await self._provider.address(log_in)
        except ProviderDownError as error:
            self._log.warning("Identity provider failed", error=str(error))
            return self._page(wanted, error=_sentence(error), status=503)
        response = RedirectResponse(address, status_code=303)
        self._sessions.remember(request, response, _USE, {**log_in.remembered(), "next": wanted})
        return response

    async def callback(self, request: Request) -> Response:
        """Begin a session for whom the provider names, and go where the user wanted to go."""
        kept = self._sessions.recall(request, _USE) or {}
        wanted = path_inside(self._renderer, kept.get("next", ""))
        act = act_of(request)
        try:
            response = await self._welcome(request, kept, wanted)
        except ProviderDownError as error:
            self._log.warning("Identity provider failed", error=str(error))
            act.result, act.detail = "failed", str(error)
            response = self._page(wanted, error=_sentence(error), status=503)
        except LoginRefusedError as error:
            act.result, act.detail = "refused", str(error)
            response = self._page(wanted, error=_sentence(error), status=403)
        # It is used once, however it ends.
        self._sessions.forget(request, response, _USE)
        return response

    async def log_out(self, request: Request) -> Response:
        """End the session here."""
        act_of(request).target = f"user={identity_of(request).user}"
        # Not to the provider at once: that would be a form which leads to another site (CSP).
        response = RedirectResponse(f"{self._renderer.prefix}/login?left=1", status_code=303)
        self._sessions.end(request, response)
        return response

    async def _welcome(self, request: Request, kept: dict[str, str], wanted: str) -> Response:
        asked = request.query_params
        state = asked.get("state", "")
        if not kept or not hmac.compare_digest(state.encode(), kept.get("state", "").encode()):
            raise LoginRefusedError(_STALE.rstrip("."))
        if "error" in asked:
            said = f"{asked['error']} {asked.get('error_description', '')}".strip()
            reason = "".join(each if each.isprintable() else " " for each in said)
            raise LoginRefusedError(f"the provider refused the log-in: {reason[:_LONGEST_REASON]}")
        person = await self._provider.person(
            LogIn.of(kept), code=asked.get("code", ""), issuer=asked.get("iss")
        )
        act_of(request).target = f"user={person.user}"
        found = self._authentication.of_groups(person.user, person.groups)
        if isinstance(found, Refusal):
            raise LoginRefusedError(found.detail.rstrip("."))
        identify(request, found)
        response = RedirectResponse(wanted, status_code=303)
        groups = self._authentication.named_groups(person.groups)
        self._sessions.begin(request, response, found.user, found.role, {GROUPS: groups})
        self._sessions.keep(request, response, _FAREWELL, {"token": person.token})
        return response

    def _here(self, request: Request, path: str) -> str:
        """Return the whole address of a page of this monitor, as the browser named it."""
        scheme, host = request.scope.get("scheme", "http"), request.headers.get("host", "")
        return f"{scheme}://{host}{self._renderer.prefix}{path}"

    def _page(
        self,
        wanted: str,
        *,
        error: str = "",
        status: int = 200,
        left: bool = False,
        farewell: str = "",
    ) -> Response:
        # Not `code`: the layout then shows nothing of what is inside.
        return self._renderer.page(
            "login_elsewhere.html",
            status=status,
            code=401,
            wanted=wanted,
            error=error,
            left=left,
            farewell=farewell,
        )


def _sentence(error: DulyError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
