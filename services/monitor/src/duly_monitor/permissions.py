"""Who may do what: named permissions, the roles that bundle them, and who is asking."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from starlette.requests import Request


class Permission(StrEnum):
    """What a route requires, by the name that settings and errors use."""

    VIEW = "view"
    """Everything that is shown of queues, tasks, schedules and servers, secrets masked."""
    RUN_TASKS = "run-tasks"
    """Run, retry and rerun tasks, with another payload too."""
    ARCHIVE_TASKS = "archive-tasks"
    CANCEL_TASKS = "cancel-tasks"
    DELETE_TASKS = "delete-tasks"
    ENQUEUE = "enqueue"
    """Enqueue new tasks."""
    PAUSE_QUEUES = "pause-queues"
    """Pause and resume queues."""
    REMOVE_QUEUES = "remove-queues"
    TRIGGER_SCHEDULES = "trigger-schedules"
    PAUSE_SCHEDULES = "pause-schedules"
    SIGNAL_SERVERS = "signal-servers"
    """Quiet, resume and stop workers."""
    VIEW_BYTES = "view-bytes"
    """The bytes of a message that cannot be read: nothing in them can be masked."""
    VIEW_AUDIT = "view-audit"


class Role(StrEnum):
    """A set of permissions; each role includes the one before."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset({Permission.VIEW})
_ADMIN_ONLY = frozenset({Permission.REMOVE_QUEUES, Permission.VIEW_BYTES, Permission.VIEW_AUDIT})
ROLES: Final = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: frozenset(Permission) - _ADMIN_ONLY,
    Role.ADMIN: frozenset(Permission),
}
"""What each role may do."""
CHANGES: Final = frozenset(Permission) - {
    Permission.VIEW,
    Permission.VIEW_BYTES,
    Permission.VIEW_AUDIT,
}
"""The permissions to change something: nobody has them in read-only mode."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request, as far as it is known."""

    user: str = ""
    """Name of a user or of a token; "": nobody has logged in."""
    role: str = ""
    """A role, or `token` for what has scopes of its own."""
    permissions: frozenset[Permission] = frozenset()


NOBODY: Final = Identity()
_KEY = "duly.identity"
_CURRENT: ContextVar[Identity] = ContextVar("identity", default=NOBODY)


def identify(request: Request, identity: Identity) -> None:
    """Say who sent a request."""
    request.scope[_KEY] = identity
    _CURRENT.set(identity)


def identity_of(request: Request) -> Identity:
    """Return who sent a request; `NOBODY` before that is known."""
    found = request.scope.get(_KEY, NOBODY)
    assert isinstance(found, Identity)  # noqa: S101 - set by `identify` only
    return found


def current() -> Identity:
    """Return who sent the request that is being answered, for what templates show."""
    return _CURRENT.get()


def may(request: Request, permission: Permission) -> bool:
    """Tell whether the sender of a request has a permission, for what a page offers."""
    return permission in identity_of(request).permissions
