"""What a queue holds beside its lists of tasks: groups, joins of flows, unique locks."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.task import TaskState
from duly_monitor.audit import act_of
from duly_monitor.bounds import QueuePath, addressed, asked, invalid_cursor
from duly_monitor.forms import address_of, form_of
from duly_monitor.operations import ALLOWED, PERMISSIONS, label
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.pages.queries import GroupQuery
from duly_monitor.pages.rows import Rows
from duly_monitor.permissions import identity_of
from duly_monitor.render import Renderer, segment

SHOWN_LOCKS = 200
_LONGEST_REASON = 500


class ContentsPages:
    """Answers for `/queues/{name}/groups`, `…/group`, `…/joins` and `…/locks`."""

    def __init__(self, inspector: Inspector, renderer: Renderer, rows: Rows) -> None:
        self._inspector, self._renderer, self._rows = inspector, renderer, rows

    async def groups(self, request: Request) -> Response:
        """Show the groups of a queue, those that are due first first."""
        name = addressed(QueuePath, request).name
        groups = await self._inspector.groups.list(name)
        return self._page(request, "groups.html", name, groups=groups)

    async def group(self, request: Request) -> Response:
        """Show the tasks of one group, and what can be done to them.

        Raises:
            HTTPException: 400, when a cursor is invalid.
        """
        name, query = addressed(QueuePath, request).name, asked(GroupQuery, request)
        report = await self._inspector.groups.get(name, query.kind, query.group)
        try:
            page = await self._inspector.groups.tasks(
                name, query.kind, query.group,
                limit=query.limit, cursor=query.cursor, newest=query.newest,
            )  # fmt: skip
        except ValueError as error:
            raise invalid_cursor() from error
        same = {"kind": query.kind, "group": query.group, "limit": query.limit}
        turned = same | ({} if query.newest else {"order": "newest"})
        if query.newest:
            same["order"] = "newest"
        following = same | {"cursor": page.next_cursor, "at": query.at + len(page.tasks)}
        return self._page(
            request,
            "group.html",
            name,
            report=report,
            query=query,
            words=_words(name, f"{query.kind}:{query.group}"),
            rows=await self._rows.of(page.tasks),
            state=TaskState.AGGREGATING,
            actions=[
                (each, label(each, TaskState.AGGREGATING), PERMISSIONS[each].value)
                for each in ALLOWED[TaskState.AGGREGATING]
            ],
            turned=f"?{urlencode(turned)}",
            first=f"?{urlencode(same)}" if query.cursor else "",
            next=f"?{urlencode(following)}" if page.next_cursor else "",
        )

    async def joins(self, request: Request) -> Response:
        """Show the tasks that wait for all members of a flow's group."""
        name = addressed(QueuePath, request).name
        joins = await self._inspector.joins.list(name)
        return self._page(request, "joins.html", name, joins=joins)

    async def cancel_join(self, request: Request) -> Response:
        """Cancel the task that was to follow the members."""
        name, form = addressed(QueuePath, request).name, await form_of(request)
        join, act = form.one("join"), act_of(request)
        act.target, act.reason = f"{act.target} join={join}", form.one("reason").strip()
        act.reason = act.reason[:_LONGEST_REASON]
        await self._inspector.joins.cancel(name, join)
        address = f"{self._renderer.prefix}/queues/{segment(name)}/joins"
        return redirect(address, "cancel-join")

    async def locks(self, request: Request) -> Response:
        """Show who holds which unique lock, and until when."""
        name = addressed(QueuePath, request).name
        page = await self._inspector.locks.list(name)
        return self._page(
            request, "locks.html", name,
            locks=page.locks[:SHOWN_LOCKS], total=len(page.locks), complete=page.complete,
        )  # fmt: skip

    def _page(self, request: Request, template: str, name: str, **values: Any) -> Response:  # noqa: ANN401 - what a template reads
        return self._renderer.page(
            template,
            **values,
            queue_name=name,
            flash=flash(request),
            permissions=identity_of(request).permissions,
            back=address_of(request),
        )


def _words(queue: str, group: str) -> str:
    """Return the search for a whole group; "" for a name that no search can say."""
    if '"' in group or not group.isprintable():
        return ""
    return f'queue:{queue} state:{TaskState.AGGREGATING.value} group:"{group}"'
