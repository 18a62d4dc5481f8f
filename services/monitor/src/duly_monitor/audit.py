"""The audit of the monitor: every action, refusal and failed log-in, as a record and a log line.

A route that changes something is made by `Audit.acting`: it cannot be left out of the audit, and
its handler only adds what it knows better, through `act_of`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.clock import Clock
from duly.engine.inspection.audit import AuditTrail
from duly.engine.storage.reports import AuditRecord
from duly.errors import DulyError
from duly.runtime.monitor_settings import AuditSettings
from duly.task import Task
from duly_monitor.permissions import Permission, identity_of
from duly_monitor.redaction import mask_text

Endpoint = Callable[[Request], Awaitable[Response]]
_FORBIDDEN = 403
_FAILED = 400
_STRANGERS = 60
"""Records about people who are not logged in, in a minute at most: nobody may wash out the rest.
As many about failed log-ins, which the others must not wash out either. Log lines have no bound."""
_NOT_STORED = f"the broker holds {_STRANGERS} records a minute of who is not logged in"
MOST_NAMED = 100
"""Tasks of an action on many that its record names."""
_KEY = "duly.act"


@dataclass(slots=True)
class Act:
    """What a request does, for the audit: its handler may say more."""

    action: str
    target: str = ""
    filter: str = ""
    count: int | None = None
    tasks: tuple[str, ...] = ()
    reason: str = ""
    result: str = ""
    """"": by the status of the response. `started` for what goes on in the background."""
    detail: str = ""


def act_of(request: Request) -> Act:
    """Return what a request does, to say more of it; of a route without an action, nothing."""
    found = request.scope.get(_KEY)
    return found if isinstance(found, Act) else Act(action="")


def request_id_of(request: Request) -> str:
    """Return the id of a request, which log lines, errors and the audit name."""
    return str(request.scope.get("duly.request_id", ""))


class Audit:
    """Writes down who did what."""

    def __init__(self, trail: AuditTrail, settings: AuditSettings, clock: Clock) -> None:
        self._trail, self._settings, self._clock = trail, settings, clock
        self._minute, self._strangers = -1, Counter[bool]()

    def acting(self, action: str, permission: Permission | None, endpoint: Endpoint) -> Endpoint:
        """Wrap a handler so that it runs only with the permission, and is recorded in any case.

        Args:
            action: Its name in the audit, such as `pause_queue`.
            permission: What it takes; None: nothing, since it is the way in or out.
            endpoint: The handler. It may fill in `act_of(request)`.
        """

        async def audited(request: Request) -> Response:
            act = Act(action, target=_target(request))
            request.scope[_KEY] = act
            try:
                if permission is not None:
                    require(request, permission)
                response = await endpoint(request)
            except BaseException as error:
                act.detail = act.detail or _described(error)
                await self.record(request, act, _result_of(error))
                raise
            failed = "failed" if response.status_code >= _FAILED else "done"
            await self.record(request, act, act.result or failed)
            return response

        # The description of the API reads what a handler declares about itself.
        audited.__wrapped__ = endpoint  # type: ignore[attr-defined]
        return audited

    def viewing(self, permission: Permission, endpoint: Endpoint) -> Endpoint:
        """Wrap a handler that changes nothing: recorded only when it is refused."""

        async def guarded(request: Request) -> Response:
            try:
                require(request, permission)
            except HTTPException as error:
                act = Act("view", target=request.scope["path"], detail=error.detail)
                await self.record(request, act, "refused")
                raise
            return await endpoint(request)

        guarded.__wrapped__ = endpoint  # type: ignore[attr-defined]
        return guarded

    async def record(self, request: Request, act: Act, result: str) -> None:
        """Write a log line, and a record where the broker takes one.

        A broker that is down, full or read-only must not keep anybody from acting, nor from being
        refused: the line remains.
        """
        who = identity_of(request)
        record = AuditRecord(
            user=who.user,
            role=who.role,
            action=act.action,
            result=result,
            target=act.target,
            filter=act.filter,
            count=act.count,
            tasks=act.tasks,
            reason=act.reason,
            detail=mask_text(act.detail),
            request_id=request_id_of(request),
            peer=request.client.host if request.client else "",
        )
        await self.write(record)

    async def write(self, record: AuditRecord) -> None:
        """Write a record that no request stands for, such as the end of a background job."""
        why = ""
        if record.user or self._notes_stranger(record.action):
            try:
                await self._trail.append(record, most=self._settings.length, age=self._settings.age)
            except DulyError as error:
                why = str(error) or type(error).__name__
        else:
            why = _NOT_STORED
        log = structlog.get_logger("duly.monitor.audit")
        level = log.info if record.result in ("done", "started") else log.warning
        level("Audit record", **_fields(record), **({"not_stored": why} if why else {}))

    def _notes_stranger(self, action: str) -> bool:
        minute, logs_in = int(self._clock.monotonic() // 60), action == "log_in"
        if minute != self._minute:
            self._minute, self._strangers = minute, Counter()
        self._strangers[logs_in] += 1
        return self._strangers[logs_in] <= _STRANGERS


def require(request: Request, *permissions: Permission) -> None:
    """Refuse a request whose sender lacks a permission.

    Raises:
        HTTPException: 403, naming the permission.
    """
    for permission in permissions:
        if permission not in identity_of(request).permissions:
            raise HTTPException(_FORBIDDEN, f"This requires the permission '{permission.value}'.")


def named(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Return the first of many tasks as the audit names them: `queue/id`."""
    return tuple(f"{task.queue}/{task.id}" for task in islice(tasks, MOST_NAMED))


def _target(request: Request) -> str:
    return " ".join(f"{name}={value}" for name, value in request.path_params.items())


def _result_of(error: BaseException) -> str:
    if isinstance(error, HTTPException):
        return "refused" if error.status_code == _FORBIDDEN else "failed"
    # Neither an answer nor an error of ours: cancelled half-way, or a bug.
    return "failed" if isinstance(error, DulyError) else "unknown"


def _described(error: BaseException) -> str:
    if isinstance(error, HTTPException):
        return error.detail
    return str(error) if isinstance(error, DulyError) else type(error).__name__


def _fields(record: AuditRecord) -> dict[str, object]:
    """Return the fields of a log line: those that say something."""
    names = ("user", "role", "action", "result", "target", "filter", "count", "reason")
    facts = {
        name: getattr(record, name) for name in (*names, "tasks", "detail", "request_id", "peer")
    }
    return {name: value for name, value in facts.items() if value not in ("", None, ())}
