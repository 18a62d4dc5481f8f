"""Kinds of job as JSON, and enqueueing by kind."""

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from typing_extensions import override

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import KindReport
from duly.errors import BrokerDownError, DulyError, TaskIdConflictError
from duly.payload import form_of
from duly.payload_schema import explained
from duly.task import Task
from duly_monitor.api.described import described, read_body
from duly_monitor.api.models import NEXT, Answer, Body, TaskAnswer, Whole
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import Table
from duly_monitor.audit import act_of, named
from duly_monitor.bounds import KindPath, PartQuery, Query, QueuePath, addressed, asked
from duly_monitor.permissions import identity_of
from duly_monitor.redaction import mask_text

MOST_OF_BATCH: Final = 100
_LONGEST_KEY: Final = 255
_COLUMNS: Final = (
    *("kind", "queue", "app", "description", "published_at", "servers", "rival_app"),
)
Seconds = Annotated[float, Field(ge=0, le=3_153_600_000, strict=True)]


class KindAnswer(Answer):
    """One kind of job."""

    kind: str
    queue: str = Field(description="where its tasks wait unless a call says otherwise")
    app: str = Field(description="application that publishes it; empty: it has no name")
    description: str
    published_at: datetime
    servers: list[str] = Field(description="ids of the live servers that handle it")
    rival_app: str | None = Field(
        description="application that publishes another payload of it; null: none"
    )

    @classmethod
    def of(cls, report: KindReport) -> Self:
        """Return the answer for a report."""
        facts = {name: getattr(report, name) for name in KindAnswer.model_fields}
        return cls(**facts | {"servers": list(report.servers)})


class KindDetailAnswer(KindAnswer):
    """One kind of job with all that is published of it."""

    policy: dict[str, Any]
    payload_schema: dict[str, Any] | None = Field(description="JSON schema; null: none published")

    @classmethod
    @override
    def of(cls, report: KindReport) -> Self:
        """Return the answer for a report."""
        facts = KindAnswer.of(report).model_dump()
        return cls(**facts, policy=report.policy, payload_schema=report.schema)


class KindListAnswer(Answer):
    """The published kinds, by name."""

    kinds: list[KindAnswer]
    next_cursor: str | None = Field(description=NEXT)


class NewTask(Body):
    """A task to enqueue: a kind, its payload, and options that override the kind's policy."""

    kind: str = Field(description="as `GET /kinds` names it")
    payload: dict[str, Any] = Field(default_factory=dict, description="fields of the kind")
    task_id: str | None = Field(None, description="null: one is made")
    delay_seconds: Seconds | None = None
    due: AwareDatetime | None = Field(
        None, description="with a time zone; not together with a delay"
    )
    max_attempts: Whole | None = None
    timeout_seconds: Seconds | None = None
    deadline: AwareDatetime | None = Field(None, description="with a time zone")
    unique_for_seconds: Seconds | None = None
    retention_seconds: Seconds | None = None
    headers: dict[str, str] | None = None
    group: str | None = None


class NewBatch(Body):
    """Tasks to enqueue."""

    tasks: Annotated[list[NewTask], Field(min_length=1, max_length=MOST_OF_BATCH)]


class KeyHeader(Query):
    """What makes a request that is repeated enqueue once."""

    key: str | None = Field(
        None,
        alias="Idempotency-Key",
        max_length=_LONGEST_KEY,
        pattern=r"^[ -~]*$",
        description="the same key of the same user and queue enqueues once",
    )


class BatchItemAnswer(Answer):
    """What came of one task of a batch."""

    task_id: str | None
    error: str = Field(description="why it was refused; empty: it was enqueued")


class BatchAnswer(Answer):
    """What came of a batch, in its order."""

    results: list[BatchItemAnswer]
    enqueued: int


class KindApi:
    """Answers for `/api/v1/kinds…`, and for what is posted to `/api/v1/queues/{name}/tasks`."""

    def __init__(self, inspector: Inspector, client: Client) -> None:
        self._inspector, self._client = inspector, client

    @described(
        "List the kinds of job that workers and schedulers have published",
        KindListAnswer,
        query=PartQuery,
        table=Table("kinds", "kinds", _COLUMNS),
    )
    async def kinds(self, request: Request) -> Answer:
        """Return a page of the kinds, without the schemas."""
        query, reports = asked(PartQuery, request), await self._inspector.kinds.list()
        part = part_of(reports, query, lambda report: (report.kind,))
        kinds = [KindAnswer.of(report) for report in part.items]
        return KindListAnswer(kinds=kinds, next_cursor=part.next_cursor)

    @described(
        "Show one kind with its policy and the JSON schema of its payload",
        KindDetailAnswer,
        path=KindPath,
        errors=(404,),
    )
    async def kind(self, request: Request) -> Answer:
        """Return one kind."""
        report = await self._inspector.kinds.find(addressed(KindPath, request).kind)
        return KindDetailAnswer.of(report)

    @described(
        "Enqueue a task of a published kind",
        TaskAnswer,
        path=QueuePath,
        headers=KeyHeader,
        body=NewTask,
        errors=(400, 403, 404, 409, 413),
    )
    async def enqueue(self, request: Request) -> Answer:
        """Enqueue one task, and return it."""
        queue, wanted = addressed(QueuePath, request).name, await read_body(NewTask, request)
        await self._inspector.queues.get(queue)
        task = await self._add(queue, wanted, _key_of(request, queue))
        act_of(request).detail = f"task_id={task.id} kind={task.kind}"
        return TaskAnswer.of(task)

    @described(
        "Enqueue many tasks",
        BatchAnswer,
        path=QueuePath,
        headers=KeyHeader,
        body=NewBatch,
        errors=(400, 404, 413),
    )
    async def enqueue_many(self, request: Request) -> Answer:
        """Enqueue one after the other; say of each what came of it."""
        queue, wanted = addressed(QueuePath, request).name, await read_body(NewBatch, request)
        await self._inspector.queues.get(queue)
        key, results, tasks = _key_of(request, queue), list[BatchItemAnswer](), list[Task]()
        for place, item in enumerate(wanted.tasks):
            try:
                task = await self._add(queue, item, key and f"{key}-{place}")
            except BrokerDownError:
                raise
            except (HTTPException, DulyError) as error:
                text = error.detail if isinstance(error, HTTPException) else str(error)
                results.append(BatchItemAnswer(task_id=item.task_id, error=mask_text(text)))
            else:
                results.append(BatchItemAnswer(task_id=task.id, error=""))
                tasks.append(task)
        act = act_of(request)
        act.count, act.tasks = len(tasks), named(tasks)
        if act.count < len(results):
            act.result, act.detail = "failed", f"{len(results) - act.count} were refused"
        return BatchAnswer(results=results, enqueued=act.count)

    async def _add(self, queue: str, wanted: NewTask, key: str) -> Task:
        """Enqueue a task; return the one of before where the same key has enqueued it."""
        job = await self._inspector.kinds.job(wanted.kind)
        try:
            payload = form_of(job).read(wanted.payload)
        except ValidationError as error:
            raise HTTPException(400, f"payload of {wanted.kind}: {explained(error)}") from error
        try:
            return await self._client.enqueue(
                payload,
                queue=queue,
                task_id=wanted.task_id or key or None,
                delay=_duration(wanted.delay_seconds),
                due=wanted.due,
                max_attempts=wanted.max_attempts,
                timeout=_duration(wanted.timeout_seconds),
                deadline=wanted.deadline,
                unique_for=_duration(wanted.unique_for_seconds),
                retention=_duration(wanted.retention_seconds),
                headers=wanted.headers,
                group=wanted.group,
            )
        except TaskIdConflictError:
            if wanted.task_id or not key:
                raise
            return await self._inspector.tasks.get(queue, key)


def _key_of(request: Request, queue: str) -> str:
    """Return the id of a task with an idempotency key; "": it has none.

    The same key of somebody else, or for another queue, is another one.
    """
    given = request.headers.get("idempotency-key", "")
    if not given:
        return ""
    if len(given) > _LONGEST_KEY or not (given.isascii() and given.isprintable()):
        problem = f"Idempotency-Key: use 1 to {_LONGEST_KEY} printable ASCII characters."
        raise HTTPException(400, problem)
    text = f"{identity_of(request).user}\0{queue}\0{given}"
    return f"key-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
