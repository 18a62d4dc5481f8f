"""Search: tasks of every queue by words, with how much was looked at for it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.search import Query
from duly.engine.inspection.shared_reading import SharedReading
from duly.task import Task, TaskState
from duly_monitor.bounds import asked
from duly_monitor.forms import address_of
from duly_monitor.operations import PERMISSIONS, Operation, label
from duly_monitor.pages.flash import flash
from duly_monitor.pages.queries import SearchQuery
from duly_monitor.pages.rows import Rows
from duly_monitor.permissions import identity_of
from duly_monitor.render import Renderer, Shown, segment
from duly_monitor.search_words import Search, SearchSyntaxError, understand

LONGEST_ID = 256


class SearchPages:
    """Answers for `/search`."""

    def __init__(self, inspector: Inspector, renderer: Renderer, rows: Rows) -> None:
        self._inspector, self._renderer, self._rows = inspector, renderer, rows
        self._found = SharedReading(self._find, share=0)

    def forget(self) -> None:
        """Have everything looked for anew: something was changed."""
        self._found.forget()

    async def search(self, request: Request) -> Response:
        """Show the tasks that match, or the one whose id was typed."""
        query = asked(SearchQuery, request)
        if not query.q.strip():
            return self._page(request, query, Shown(_values()))
        try:
            search = understand(query.q, self._renderer.clock.now())
        except SearchSyntaxError as error:
            shown = Shown(_values(problem=error))
            return self._page(request, query, shown, status=400)
        task = await self._named(search)
        if task is not None:
            address = f"{self._renderer.prefix}/tasks/{segment(task.queue)}/{segment(task.id)}"
            return RedirectResponse(address, status_code=303)
        return self._page(request, query, await self._found.get(query))

    async def _find(self, query: SearchQuery) -> Shown:
        """Return what matches.

        Raises:
            SearchSyntaxError: The words are none of a search.
        """
        search = understand(query.q, self._renderer.clock.now())
        found = await self._inspector.tasks.search(
            search.query, limit=query.limit, window=query.window
        )
        rows = await self._rows.of(found.tasks, query.shown_columns)
        missing = "" if rows else search.query.id
        lone = search.query == Query(id=missing)
        return Shown(_values(search=search, found=found, rows=rows, missing=missing, lone=lone))

    async def _named(self, search: Search) -> Task | None:
        """Return the one task that has the id which was looked for, and matches all else."""
        wanted = Query(id=search.lone) if search.lone else search.query
        if not 0 < len(wanted.id) <= LONGEST_ID:
            return None
        found = (await self._inspector.tasks.search(wanted)).tasks
        return found[0] if len(found) == 1 else None

    def _page(
        self, request: Request, query: SearchQuery, shown: Shown, *, status: int = 200
    ) -> Response:
        return self._renderer.page(
            "search.html",
            status=status,
            shown=shown,
            flash=flash(request),
            query=query,
            asked=query.q,
            wider=min(query.window * 5, SearchQuery.MOST),
            states=list(TaskState),
            actions=[(each, label(each), PERMISSIONS[each].value) for each in Operation],
            permissions=identity_of(request).permissions,
            back=address_of(request),
        )


def _values(**read: object) -> dict[str, object]:
    """Return what was found, with nothing for what was not looked for."""
    nothing = {"problem": None, "missing": "", "lone": False, "search": None, "found": None}
    return nothing | {"rows": ()} | read
