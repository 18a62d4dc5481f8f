"""Operations on many tasks: the question with its dry run, the start, the progress, the stop."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly.clock import from_unix_ms
from duly.engine.inspection.bulk import DEFAULT_CAP, BulkPlan
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import BulkRunState
from duly_monitor.audit import act_of, named, require
from duly_monitor.bounds import addressed, asked
from duly_monitor.bulk import BulkOrder, BulkRunner, TooManyBulkRunsError
from duly_monitor.forms import Form, form_of, returning
from duly_monitor.guarded import permit
from duly_monitor.operations import (
    OUTCOMES,
    PERMISSIONS,
    CancelOutcome,
    Operation,
    label,
    outcomes_for,
    ticked,
)
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.pages.queries import BulkPath, BulkQuery
from duly_monitor.permissions import identity_of
from duly_monitor.redaction import mask_text
from duly_monitor.render import Renderer
from duly_monitor.search_words import Search, SearchSyntaxError, understand

PACES: Final = (0, 100, 10, 1)
"""Tasks a second that one may choose from; 0: as fast as possible."""
SHOWN_TASKS: Final = 10
_LONGEST_REASON: Final = 500
_MS = re.compile(r"[0-9]{1,15}")


class BulkPages:
    """Answers for `/bulk…`."""

    def __init__(self, inspector: Inspector, renderer: Renderer, runner: BulkRunner) -> None:
        self._inspector, self._renderer, self._runner = inspector, renderer, runner

    async def ask(self, request: Request) -> Response:
        """Ask about all tasks that match: count what it would do, and change nothing.

        Without an operation to ask about, show those of the last week.
        """
        if "operation" not in request.query_params:
            return await self._runs(request)
        query, as_of = asked(BulkQuery, request), self._inspector.bulk_runs.now_ms()
        plan = await self._plan(query.operation, query.q, (), from_unix_ms(as_of))
        return self._question(
            request, plan, words=query.q, as_of=as_of, selected=(), back=query.back
        )

    async def ask_selected(self, request: Request) -> Response:
        """Ask about the tasks that were ticked."""
        form = await form_of(request)
        operation, selected = _operation(form), form.all("task")
        plan = await self._plan(operation, "", selected, None)
        return self._question(request, plan, selected=selected, back=form.one("back"))

    async def start(self, request: Request) -> Response:
        """Begin in the background what was asked about, and show how far it is."""
        form = await form_of(request)
        operation, words, selected = _operation(form), form.one("q"), form.all("task")
        act = act_of(request)
        act.action = f"{operation.value}_tasks"
        act.filter = mask_text(words) or f"{len(selected)} selected"
        act.reason = form.one("reason").strip()[:_LONGEST_REASON]
        outcome = outcome_of(form)
        permit(request, operation, outcome)
        plan = await self._plan(operation, words, selected, _instant(form.one("as_of")))
        act.count, act.tasks = len(plan.tasks), named(plan.tasks)
        order = BulkOrder(
            plan=plan,
            selection=act.filter,
            by=identity_of(request).user,
            per_second=_chosen(form.one("pace", "0"), PACES),
            outcome=outcome,
        )
        try:
            run_id = await self._runner.order(order)
        except TooManyBulkRunsError as error:
            raise HTTPException(409, f"{str(error).capitalize()}.") from error
        act.result, act.target = "started", f"bulk={run_id}"
        return RedirectResponse(f"{self._renderer.prefix}/bulk/{run_id}", status_code=303)

    async def _runs(self, request: Request) -> Response:
        runs = await self._inspector.bulk_runs.list()
        return self._renderer.page("bulk_runs.html", flash=flash(request), runs=runs)

    async def run(self, request: Request) -> Response:
        """Show how far one is."""
        report = await self._inspector.bulk_runs.get(addressed(BulkPath, request).run_id)
        rest = report.total - report.done - report.gone - report.failed
        spent = timedelta(milliseconds=max(0, report.updated_ms - report.started_ms))
        return self._renderer.page(
            "bulk_run.html",
            flash=flash(request),
            run=report,
            running=report.state is BulkRunState.RUNNING,
            name=label(Operation(report.operation)),
            rest=rest,
            spent=spent,
            permissions=identity_of(request).permissions,
            takes=PERMISSIONS[Operation(report.operation)].value,
        )

    async def stop(self, request: Request) -> Response:
        """Stop one after the chunk that it is at."""
        run_id = addressed(BulkPath, request).run_id
        report = await self._inspector.bulk_runs.get(run_id)
        require(request, PERMISSIONS[Operation(report.operation)])
        await self._inspector.bulk_runs.stop(run_id)
        return redirect(f"{self._renderer.prefix}/bulk/{run_id}", "stop")

    async def _plan(
        self, operation: Operation, words: str, selected: Sequence[str], as_of: datetime | None
    ) -> BulkPlan:
        """Collect the tasks that were ticked, or that a search finds.

        Args:
            operation: What would be done.
            words: Of the search.
            selected: What was ticked, in place of a search.
            as_of: When the question was asked, so that what is done is what was asked about: what
                fails, ends or comes while somebody reads it is left out, and `since:2h` stays the
                same instant. None: now.
        """
        if selected:
            return await self._plan_ticked(operation, dict.fromkeys(selected))
        if not words.strip():
            raise HTTPException(400, "Select tasks, or name them by a search, first.")
        search = _understood(words, as_of or self._renderer.clock.now())
        return await self._inspector.bulk.plan(operation.value, replace(search.query, as_of=as_of))

    async def _plan_ticked(self, operation: Operation, texts: Collection[str]) -> BulkPlan:
        """Collect the tasks that were ticked and are still as they were seen then."""
        plan = await self._inspector.bulk.plan_selected(operation.value, _named(texts))
        still = tuple(task for task in plan.tasks if ticked(task) in texts)
        moved = len(plan.tasks) - len(still)
        return replace(plan, tasks=still, ineligible=plan.ineligible + moved)

    def _question(
        self,
        request: Request,
        plan: BulkPlan,
        *,
        selected: Sequence[str],
        back: str,
        words: str = "",
        as_of: int | None = None,
    ) -> Response:
        prefix = self._renderer.prefix
        operation = Operation(plan.operation)
        return self._renderer.page(
            "bulk.html",
            plan=plan,
            operation=operation,
            name=label(operation),
            words=words,
            as_of=as_of,
            selected=selected,
            cap=DEFAULT_CAP,
            examples=plan.tasks[:SHOWN_TASKS],
            paces=PACES,
            outcomes=outcomes_for(identity_of(request).permissions),
            allowed=PERMISSIONS[operation] in identity_of(request).permissions,
            permission=PERMISSIONS[operation].value,
            back=returning(back, prefix=prefix, otherwise=f"{prefix}/"),
        )


def _understood(words: str, now: datetime) -> Search:
    try:
        return understand(words, now)
    except SearchSyntaxError as error:
        raise HTTPException(400, f"{error}.") from error


def _operation(form: Form) -> Operation:
    try:
        return Operation(form.one("operation"))
    except ValueError:
        names = ", ".join(Operation)
        raise HTTPException(400, f"operation: use one of {names}.") from None


def outcome_of(form: Form) -> CancelOutcome:
    """Return what a form says is to become of cancelled tasks.

    Raises:
        HTTPException: 400, when it is no outcome.
    """
    given = form.one("outcome", "archive")
    for outcome in OUTCOMES:
        if outcome == given:
            return outcome
    raise HTTPException(400, f"outcome: use one of {', '.join(OUTCOMES)}.")


def _instant(ms: str) -> datetime | None:
    """Return the instant at which a question was asked; None: the form names none."""
    if ms and not _MS.fullmatch(ms):
        raise HTTPException(400, "as_of: use milliseconds since 1970, or leave it out.")
    return from_unix_ms(int(ms)) if ms else None


def _chosen(text: str, choices: tuple[int, ...]) -> int:
    if text not in map(str, choices):
        raise HTTPException(400, f"pace: use one of {', '.join(map(str, choices))}.")
    return int(text)


def _named(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return queue and id of each ticked task; an id may hold more slashes.

    Raises:
        HTTPException: 400, when a text is none that `ticked` gives.
    """
    parts = [text.split("/", 3) for text in texts]
    if any(len(each) < 4 or not all(each) for each in parts):  # noqa: PLR2004
        raise HTTPException(400, "task: go back, and select the tasks again.")
    return [(queue, task_id) for _, _, queue, task_id in parts]
