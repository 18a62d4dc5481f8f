"""Makes routes: each takes a permission, and what each changes is written down."""

from collections.abc import Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from duly_monitor.audit import Audit, Endpoint, act_of, require
from duly_monitor.operations import CancelOutcome, Operation, taken_by
from duly_monitor.permissions import Permission


def permit(request: Request, operation: Operation, outcome: CancelOutcome) -> None:
    """Refuse an operation on tasks to who may not do it, and note what cancelling is to lead to.

    Args:
        request: Who asks.
        operation: What is asked for; the route itself may take less.
        outcome: What becomes of tasks that are cancelled; of no meaning to other operations.

    Raises:
        HTTPException: 403, naming the permission that is lacking.
    """
    if operation is Operation.CANCEL:
        act_of(request).detail = f"outcome: {outcome}"
    require(request, *taken_by(operation, outcome))


class Guarded:
    """Makes routes: each takes a permission, and what each changes is written down.

    Args:
        audit: Writes it down.
        changed: Called after each that may have changed something.
    """

    def __init__(self, audit: Audit, changed: Callable[[], None] = lambda: None) -> None:
        self._audit, self._changed = audit, changed

    def view(
        self,
        path: str,
        endpoint: Endpoint,
        name: str | None = None,
        permission: Permission = Permission.VIEW,
    ) -> Route:
        """Return a route that shows something."""
        return Route(path, self._audit.viewing(permission, endpoint), methods=["GET"], name=name)

    def ask(self, path: str, endpoint: Endpoint) -> Route:
        """Return a route that shows something and is asked for by a form: its body is long."""
        return Route(path, self._audit.viewing(Permission.VIEW, endpoint), methods=["POST"])

    def enter(self, path: str, endpoint: Endpoint, name: str) -> Route:
        """Return a route by which a browser comes back from elsewhere, and is logged in."""
        return Route(path, self._audit.acting(name, None, endpoint), methods=["GET"], name=name)

    def act(self, path: str, endpoint: Endpoint, permission: Permission | None, name: str) -> Route:
        """Return a route that changes something, by the name that the audit has for it."""
        guarded = self._audit.acting(name, permission, endpoint)

        @wraps(guarded)
        async def change(request: Request) -> Response:
            try:
                return await guarded(request)
            finally:
                self._changed()  # who did it must see it, on whatever page comes next

        return Route(path, change, methods=["POST"], name=name)
