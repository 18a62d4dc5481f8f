"""A form to enqueue a task, from the JSON schema that its kind has published."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage.reports import KindReport
from duly.errors import BrokerError, DulyError
from duly.payload import form_of as payload_form
from duly.payload_schema import explained
from duly.runtime.durations import parse_duration
from duly_monitor.audit import act_of
from duly_monitor.bounds import QueuePath, addressed, asked
from duly_monitor.forms import Form, form_of
from duly_monitor.pages.queries import EnqueueQuery
from duly_monitor.payloads import PayloadError, read_payload
from duly_monitor.render import Renderer, segment
from duly_monitor.schema_fields import fields_of, payload_from

_PREFIX: Final = "field."


class EnqueuePages:
    """Answers for `/queues/{name}/enqueue`."""

    def __init__(self, inspector: Inspector, renderer: Renderer, client: Client) -> None:
        self._inspector, self._renderer, self._client = inspector, renderer, client
        self._kinds = SharedReading[None, Sequence[KindReport]](
            lambda _: inspector.kinds.list(), share=0
        )

    async def form(self, request: Request) -> Response:
        """Show the kinds that can be enqueued, and the form of one."""
        name = addressed(QueuePath, request).name
        query = asked(EnqueueQuery, request)
        await self._inspector.queues.get(name)
        kinds = sorted(
            await self._kinds.get(None), key=lambda each: (each.queue != name, each.kind)
        )
        chosen = query.kind or (kinds[0].kind if kinds else "")
        kind = next((each for each in kinds if each.kind == chosen), None)
        return self._page(name, kinds, kind)

    async def enqueue(self, request: Request) -> Response:
        """Enqueue what was typed, and show the task; what does not fit can be mended."""
        name, form = addressed(QueuePath, request).name, await form_of(request)
        await self._inspector.queues.get(name)
        kind = await self._inspector.kinds.find(form.one("kind"))
        act_of(request).filter = f"kind:{kind.kind}"
        values = {each.name: form.one(_PREFIX + each.name) for each in fields_of(kind.schema)}
        values["*"] = form.one("payload")
        try:
            task_id = await self._enqueue(name, kind, form, values)
        except BrokerError:
            raise
        except DulyError as error:
            kinds = await self._kinds.get(None)
            return self._page(name, kinds, kind, form=form, values=values, problem=str(error))
        act_of(request).detail = f"task_id={task_id} kind={kind.kind}"
        address = f"{self._renderer.prefix}/tasks/{segment(name)}/{segment(task_id)}"
        return RedirectResponse(f"{address}?done=enqueue", status_code=303)

    async def _enqueue(
        self, queue: str, kind: KindReport, form: Form, values: Mapping[str, str]
    ) -> str:
        """Enqueue one task; return its id.

        Raises:
            DulyError: What was typed cannot be enqueued.
        """
        fields = fields_of(kind.schema)
        payload = payload_from(fields, values) if fields else read_payload(values["*"])
        delay = parse_duration(form.one("delay")) if form.one("delay") else None
        if delay is not None and not isinstance(delay, timedelta):
            raise PayloadError("delay: type a duration, such as 30s, 5m, 2h or 1d")
        job = await self._inspector.kinds.job(kind.kind)
        try:
            wanted = payload_form(job).read(payload)
        except ValidationError as error:
            raise PayloadError(explained(error)) from error
        # The id comes with the form: who sends it twice enqueues once.
        task = await self._client.enqueue(
            wanted, queue=queue, delay=delay, task_id=form.one("task_id") or None
        )
        return task.id

    def _page(
        self,
        name: str,
        kinds: Sequence[KindReport],
        kind: KindReport | None,
        *,
        form: Form | None = None,
        values: Mapping[str, str] | None = None,
        problem: str = "",
    ) -> Response:
        return self._renderer.page(
            "enqueue.html",
            status=400 if problem else 200,
            queue=name,
            kinds=kinds,
            kind=kind,
            fields=fields_of(kind.schema) if kind else [],
            values=values or {},
            delay=form.one("delay") if form else "",
            task_id=(form.one("task_id") if form else "") or secrets.token_hex(16),
            problem=problem,
        )
