"""The audit: who did what, the newest first."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.bounds import PageQuery, asked, audited
from duly_monitor.render import Renderer


class AuditPages:
    """Answers for `/audit`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def audit(self, request: Request) -> Response:
        """Show a page of the audit."""
        query = asked(PageQuery, request)
        page = await audited(self._inspector, query)
        more = None
        if page.next_cursor:
            more = urlencode({"limit": query.limit, "cursor": page.next_cursor})
        return self._renderer.page(
            "audit.html", records=page.records, more=more, first=query.cursor is None
        )
