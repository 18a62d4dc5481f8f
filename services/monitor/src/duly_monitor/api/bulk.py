"""Operations on many tasks as JSON: counted first, then carried out in the background."""

from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from duly.clock import Clock
from duly.engine.inspection.bulk import DEFAULT_CAP, BulkPlan
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import BulkRunState
from duly_monitor.api.described import described, read_body
from duly_monitor.api.failures import understood
from duly_monitor.api.models import NEXT, Answer, Body, ReasonedBody, ReceiptAnswer, Whole
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import Table
from duly_monitor.audit import act_of, named, require
from duly_monitor.bounds import Name, PartQuery, Query, addressed, asked
from duly_monitor.bulk import BulkOrder, BulkRunner, TooManyBulkRunsError
from duly_monitor.guarded import permit
from duly_monitor.operations import PERMISSIONS, CancelOutcome, Operation
from duly_monitor.permissions import identity_of
from duly_monitor.redaction import mask_text
from duly_monitor.search_words import MOST_CHARACTERS


class BulkPath(Query):
    """An operation on many tasks in an address."""

    run_id: str = Field(pattern="^[0-9a-f]{16}$")


class ChosenTask(Body):
    """One of the tasks to operate on."""

    id: str = Field(min_length=1, max_length=256)
    queue: Name | None = Field(None, description="null: whichever holds it")


class NewBulkRun(ReasonedBody):
    """An operation on all tasks that a search finds, or on those that are named."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["q"]}, {"required": ["tasks"]}]}
    )

    operation: Operation
    q: str = Field(
        "", min_length=1, max_length=MOST_CHARACTERS, description="a search, as for `GET /search`"
    )
    tasks: list[ChosenTask] = Field(
        default_factory=list, min_length=1, max_length=DEFAULT_CAP, description="in place of `q`"
    )
    dry_run: bool = Field(default=True, description="count, and change nothing")
    cap: Whole = Field(DEFAULT_CAP, ge=1, le=DEFAULT_CAP, description="most tasks of a search")
    per_second: Whole = Field(0, ge=0, le=10_000, description="most tasks a second; 0: any number")
    outcome: CancelOutcome = Field(
        "archive", description="what becomes of tasks that are cancelled"
    )


class BulkPlanAnswer(Answer):
    """What an operation applies to."""

    operation: Operation
    eligible: int = Field(description="tasks that it would be, or is, carried out on")
    ineligible: int = Field(
        description="tasks that match, of those looked at, but whose state does not allow it"
    )
    scanned: int
    total: int = Field(description="tasks that there were to look at")
    complete: bool = Field(description="false: a bound was reached; more may match and allow it")
    bulk_id: str | None = Field(description="of the operation in the background; null: dry run")


class BulkRunAnswer(Answer):
    """How far an operation is."""

    id: str
    operation: str
    selection: str
    by: str
    started_ms: int = Field(description="milliseconds since 1970")
    updated_ms: int = Field(description="milliseconds since 1970")
    state: BulkRunState
    total: int
    done: int
    gone: int = Field(description="tasks that had moved on meanwhile; they were left alone")
    failed: int
    error: str


class BulkListAnswer(Answer):
    """The operations of the last week, newest first."""

    runs: list[BulkRunAnswer]
    next_cursor: str | None = Field(description=NEXT)


class BulkApi:
    """Answers for `/api/v1/bulk…`."""

    def __init__(self, inspector: Inspector, runner: BulkRunner, clock: Clock) -> None:
        self._inspector, self._runner, self._clock = inspector, runner, clock

    @described(
        "Count the tasks that match, or operate on them in the background",
        BulkPlanAnswer,
        body=NewBulkRun,
        errors=(400, 404, 409, 413),
    )
    async def start(self, request: Request) -> Answer:
        """Plan an operation, and begin it unless this is a dry run."""
        wanted, act = await read_body(NewBulkRun, request), act_of(request)
        if bool(wanted.q) == bool(wanted.tasks):
            raise HTTPException(400, "q: name the tasks by a search, or else by `tasks`.")
        act.action = f"{wanted.operation.value}_tasks"
        act.filter = mask_text(wanted.q) or f"{len(wanted.tasks)} selected"
        act.reason = wanted.reason
        permit(request, wanted.operation, wanted.outcome)
        plan = await self._plan(wanted)
        act.count, act.tasks = len(plan.tasks), named(plan.tasks)
        if wanted.dry_run:
            act.action = f"count_{act.action}"
            return _planned(plan, None)
        order = BulkOrder(
            plan=plan, selection=act.filter, by=identity_of(request).user,
            per_second=wanted.per_second, outcome=wanted.outcome,
        )  # fmt: skip
        try:
            bulk_id = await self._runner.order(order)
        except TooManyBulkRunsError as error:
            raise HTTPException(409, f"{str(error).capitalize()}.") from error
        act.result, act.target = "started", f"bulk={bulk_id}"
        return _planned(plan, bulk_id)

    async def _plan(self, wanted: NewBulkRun) -> BulkPlan:
        """Collect the tasks that are named.

        Raises:
            HTTPException: 400, when the search says nothing.
        """
        bulk = self._inspector.bulk
        if wanted.tasks:
            chosen = list(dict.fromkeys((task.queue or "", task.id) for task in wanted.tasks))
            return await bulk.plan_selected(wanted.operation.value, chosen)
        if not wanted.q.strip():
            raise HTTPException(400, "q: name the tasks by a search, such as queue:default.")
        search = understood(wanted.q, self._clock)
        return await bulk.plan(wanted.operation.value, search.query, cap=wanted.cap)

    @described(
        "List the operations on many tasks",
        BulkListAnswer,
        query=PartQuery,
        table=Table("bulk", "runs", tuple(BulkRunAnswer.model_fields)),
    )
    async def runs(self, request: Request) -> Answer:
        """Return a page of those of the last week."""
        query, runs = asked(PartQuery, request), await self._inspector.bulk_runs.list()
        part = part_of(runs, query, lambda run: (-run.started_ms, run.id))
        answers = [BulkRunAnswer.model_validate(run) for run in part.items]
        return BulkListAnswer(runs=answers, next_cursor=part.next_cursor)

    @described("Show how far an operation is", BulkRunAnswer, path=BulkPath, errors=(404,))
    async def run(self, request: Request) -> Answer:
        """Return one."""
        run_id = addressed(BulkPath, request).run_id
        return BulkRunAnswer.model_validate(await self._inspector.bulk_runs.get(run_id))

    @described("Stop an operation", ReceiptAnswer, path=BulkPath, errors=(404,))
    async def stop(self, request: Request) -> Answer:
        """Stop one after the chunk that it is at."""
        run_id = addressed(BulkPath, request).run_id
        report = await self._inspector.bulk_runs.get(run_id)
        require(request, PERMISSIONS[Operation(report.operation)])
        await self._inspector.bulk_runs.stop(run_id)
        return ReceiptAnswer(operation="stop", queue="")


def _planned(plan: BulkPlan, bulk_id: str | None) -> BulkPlanAnswer:
    return BulkPlanAnswer(
        operation=Operation(plan.operation), eligible=len(plan.tasks), ineligible=plan.ineligible,
        scanned=plan.scanned, total=plan.total, complete=plan.complete, bulk_id=bulk_id,
    )  # fmt: skip
