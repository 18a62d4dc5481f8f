"""The message after an operation: a code in the address, a fixed text on the page."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse

_TEXTS = {
    "run": "Task re-queued, attempts reset.",
    "rerun": "This is the new task. The old one keeps its attempts and links to it.",
    "edit": "Payload changed.",
    "enqueue": "Task enqueued.",
    "cancel-archive": "Cancellation requested: the task is archived once its handler has ended.",
    "cancel-retry": "Cancellation requested: the task is retried once its handler has ended.",
    "cancel-delete": "Cancellation requested: the task is deleted once its handler has ended.",
    "cancel-join": "Join cancelled: nothing follows its members. They run on.",
    "archive": "Task archived. It does not run again unless you retry it.",
    "delete": "Task deleted.",
    "pause": "Queue paused. Running tasks finish; no new ones start.",
    "resume": "Queue resumed. Workers take tasks from the queue again.",
    "remove": "Queue removed.",
    "trigger": "Task enqueued now, beside the ticks of its entry.",
    "pause-entry": "Entry paused. Its ticks pass without a task; nothing is caught up.",
    "resume-entry": "Entry resumed. Its next tick enqueues a task.",
    "quiet-server": "Worker told to take no more tasks. Its running tasks go on.",
    "resume-server": "Worker told to take tasks again.",
    "stop-server": "Worker told to stop: it ends what it runs, within its grace period, and exits.",
    "stop": "Stop requested: it ends after the tasks that it is at.",
}


def flash(request: Request) -> str:
    """Return the text for the code in the address; nothing for an unknown code."""
    return _TEXTS.get(request.query_params.get("done", ""), "")


def redirect(address: str, done: str) -> RedirectResponse:
    """Return the 303 that turns a POST into a page that may be reloaded, where one was."""
    place = urlsplit(address)
    kept = [pair for pair in parse_qsl(place.query) if pair[0] != "done"]
    query = urlencode([*kept, ("done", done)])
    return RedirectResponse(urlunsplit(place._replace(query=query)), status_code=303)
