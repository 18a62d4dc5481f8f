"""Makes routes: each takes a permission, and what each changes is written down."""

from starlette.routing import Route

from duly_monitor.audit import Audit, Endpoint
from duly_monitor.permissions import Permission


class Guarded:
    """Makes routes: each takes a permission, and what each changes is written down."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

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
        return Route(path, guarded, methods=["POST"], name=name)
