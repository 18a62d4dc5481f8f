"""The audit as JSON and as CSV."""

from datetime import datetime

from pydantic import Field
from starlette.requests import Request

from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described
from duly_monitor.api.models import NEXT, Answer
from duly_monitor.api.tables import Table
from duly_monitor.audit import MOST_NAMED
from duly_monitor.bounds import PageQuery, asked, audited

_COLUMNS = (
    *("at", "user", "role", "peer", "action", "target", "filter", "count", "result", "reason"),
    *("detail", "request_id", "tasks"),
)


class AuditRecordAnswer(Answer):
    """Who did what, and how it ended."""

    id: str
    at: datetime | None
    user: str = Field(description="empty: nobody had logged in")
    role: str
    peer: str
    action: str
    target: str
    filter: str
    count: int | None
    tasks: list[str] = Field(
        description=f"of an action on many tasks, the first {MOST_NAMED}, as `queue/id`"
    )
    result: str = Field(description="done, started, refused, failed or unknown")
    reason: str
    detail: str
    request_id: str


class AuditListAnswer(Answer):
    """A page of the audit, newest first."""

    records: list[AuditRecordAnswer]
    next_cursor: str | None = Field(description=NEXT)


class AuditApi:
    """Answers for `/api/v1/audit`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described(
        "List who did what, newest first",
        AuditListAnswer,
        query=PageQuery,
        errors=(400, 404),
        table=Table("audit", "records", _COLUMNS),
    )
    async def records(self, request: Request) -> Answer:
        """Return a page of the audit."""
        page = await audited(self._inspector, asked(PageQuery, request))
        records = [AuditRecordAnswer.model_validate(record) for record in page.records]
        return AuditListAnswer(records=records, next_cursor=page.next_cursor)
