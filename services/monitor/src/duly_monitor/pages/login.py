"""Logging in and out: a form, and a session in a cookie."""

from typing import Final
from urllib.parse import parse_qs, quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly_monitor.audit import act_of
from duly_monitor.authentication import Authentication, Refusal
from duly_monitor.permissions import identify, identity_of
from duly_monitor.render import Renderer
from duly_monitor.sessions import Sessions

_MOST_FIELDS: Final = 8


class LoginPages:
    """Answers for `/login` and `/logout`."""

    def __init__(
        self, authentication: Authentication, sessions: Sessions, renderer: Renderer
    ) -> None:
        self._authentication, self._sessions = authentication, sessions
        self._renderer = renderer

    async def form(self, request: Request) -> Response:
        """Show the form."""
        return self._page(path_inside(self._renderer, request.query_params.get("next", "")))

    async def log_in(self, request: Request) -> Response:
        """Check name and password, begin a session, and go where the user wanted to go."""
        fields = await _fields(request)
        user, password = fields.get("username", "")[:128], fields.get("password", "")
        wanted = path_inside(self._renderer, fields.get("next", ""))
        act = act_of(request)
        act.target = f"user={user}"
        found = self._authentication.log_in(request, user, password)
        if isinstance(found, Refusal):
            act.result, act.detail = "refused", found.detail
            response = self._page(wanted, user=user, error=found.detail, status=found.status)
            response.headers.update(found.headers)
            return response
        identify(request, found)
        response = RedirectResponse(wanted, status_code=303)
        self._sessions.begin(request, response, found.user, found.role)
        return response

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        act_of(request).target = f"user={identity_of(request).user}"
        response = RedirectResponse(f"{self._renderer.prefix}/login", status_code=303)
        self._sessions.end(request, response)
        return response

    def _page(self, wanted: str, *, user: str = "", error: str = "", status: int = 200) -> Response:
        # Not `code`: the layout then shows nothing of what is inside.
        return self._renderer.page(
            "login.html", status=status, code=401, wanted=wanted, user=user, error=error
        )


def path_inside(renderer: Renderer, wanted: str) -> str:
    """Return a path of this monitor; that of its first page for anything else."""
    home = f"{renderer.prefix}/"
    # A browser reads //host and /\\host as other hosts.
    inside = wanted.startswith(home) and not wanted.startswith(("//", "/\\"))
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return quote(wanted, safe="/?&=%:@+,;!*'()~.-_$") if inside and plain else home


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form, the last of each name.

    Raises:
        HTTPException: 400, when there are too many.
    """
    text = (await request.body()).decode("utf-8", "replace")
    try:
        form = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, f"A form has {_MOST_FIELDS} fields at most.") from None
    return {name: values[-1] for name, values in form.items()}
