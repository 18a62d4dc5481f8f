"""What a page says after something was done: a code in the address, a fixed text on the page."""

from starlette.requests import Request
from starlette.responses import RedirectResponse

_TEXTS = {
    "run": "The task waits again, with all its attempts.",
    "archive": "The task is archived. It will not run unless you retry it.",
    "delete": "The task is deleted.",
    "pause": "The queue is paused. Running tasks end; no new one starts.",
    "resume": "The queue runs again.",
}


def flash(request: Request) -> str:
    """Return the text for the code in the address; nothing for a code that is not ours."""
    return _TEXTS.get(request.query_params.get("done", ""), "")


def redirect(address: str, done: str) -> RedirectResponse:
    """Return the 303 that turns a POST into a page that may be reloaded."""
    return RedirectResponse(f"{address}?done={done}", status_code=303)
