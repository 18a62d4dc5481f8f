"""What both clients do with requests: prepare them, add them, and say what became of each.

It awaits nothing but the store, so it runs in an event loop and, by `turns.finished`, without one.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence

from duly.engine.enqueue.adder import Adder, batches
from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.flows import Origin, own_queues, planned
from duly.engine.enqueue.options import identifier
from duly.engine.enqueue.outbox import launch
from duly.engine.enqueue.request import (
    Prepared,
    Request,
    is_accepted,
    new_ids,
    prepare,
    refusal,
    result,
)
from duly.engine.middleware.tracing import headers_of_current_span
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store
from duly.errors import EnqueueError
from duly.flow import Node
from duly.job import Job
from duly.task import Task

Results = list[Task | EnqueueError]
"""For each request the task that it became, or why it was refused."""


class Enqueuer:
    """Enqueues over one store.

    Args:
        store: Of the broker.
        queues: The queues that tasks may be added to.

    Attributes:
        adder: Adds what has been prepared.
    """

    def __init__(self, store: Store, queues: DeclaredQueues) -> None:
        self._store, self._queues = store, queues
        self.adder = Adder(store, self._queues)

    async def enqueue(self, request: Request) -> Task:
        """Enqueue one request; see `Client.enqueue`."""
        item = self.prepared(request)
        if not self.takes(item):
            await self.check(item)
        (answer,) = await self.adder.add(item.queue, [item.new])
        return self.accepted(item, answer)

    def prepared(self, request: Request) -> Prepared:
        """Return a request as what is added; what its queue is, is not asked here.

        Raises:
            EnqueueError: It is wrong in itself.
        """
        return prepare(request, self._store.now_ms(), headers_of_current_span())

    def takes(self, item: Prepared) -> bool:
        """Tell whether its queue is known to be declared; where not, `check` asks the broker."""
        return self._queues.knows(item.queue)

    async def check(self, item: Prepared) -> None:
        """Return if somebody declares its queue.

        Raises:
            InvalidOptionError: Nobody does; the task would wait for ever.
            BrokerDownError: The broker had to be asked, and did not answer.
        """
        await self._queues.check(item.queue, own=item.request.job.policy.queue)

    def accepted(self, item: Prepared, answer: int | str) -> Task:
        """Return the task that a request became.

        Raises:
            EnqueueError: It was refused.
        """
        found = self._result(item, answer)
        if isinstance(found, EnqueueError):
            raise found
        return found

    def _result(self, item: Prepared, answer: int | str) -> Task | EnqueueError:
        return result(item, answer, self._queues.max_length(item.queue))

    async def start(self, flow: Node, flow_id: str | None) -> str:
        """Enqueue a chain or a group; see `Client.start`."""
        flow_id = secrets.token_hex(16) if flow_id is None else identifier("flow_id", flow_id)
        now_ms = self._store.now_ms()
        origin = Origin(task_id="", headers=headers_of_current_span(), now_ms=now_ms)
        named = list[str]()
        first = planned(flow, flow_id, origin, check=named.append)
        own = set(own_queues(flow))
        for each in named:
            await self._queues.check(each, own=each if each in own else "")
        if len(first) > 1:
            await launch(self._store, first)
            return flow_id
        (task,), queue = first, first[0].queue
        new = task.new(now_ms)
        (answer,) = await self.adder.add(queue, [new], whole=True)
        if not is_accepted(answer):
            raise refusal(task.kind, new, queue, answer, self._queues.max_length(queue))
        return flow_id

    async def ping(self) -> None:
        """Return when the broker answers; see `Client.ping`."""
        await self._store.connection.check()

    async def prepared_many(
        self, requests: Sequence[Request | Job], *, whole: bool
    ) -> list[Prepared | EnqueueError]:
        """Return requests as what is added, or why one is refused; `whole`: raise that."""
        now_ms, traced = self._store.now_ms(), headers_of_current_span()
        prepared: list[Prepared | EnqueueError] = []
        for item, new_id in zip(requests, new_ids(len(requests)), strict=True):
            request = item if isinstance(item, Request) else Request(job=item)
            try:
                made = prepare(request, now_ms, traced, new_id=new_id)
                if not self.takes(made):
                    await self.check(made)
            except EnqueueError as error:
                if whole:
                    raise
                prepared.append(error)
            else:
                prepared.append(made)
        return prepared

    async def add_many(self, prepared: list[Prepared | EnqueueError], *, whole: bool) -> Results:
        """Add what has been prepared; `whole`: all of a queue's batch or none."""
        good = [item for item in prepared if isinstance(item, Prepared)]
        answers: dict[str, Iterator[int | str]] = {}
        for queue in dict.fromkeys([item.queue for item in good]):
            answered = list[int | str]()
            for batch in batches([item.new for item in good if item.queue == queue], _size):
                answered += await self.adder.add(queue, batch, whole=whole)
            answers[queue] = iter(answered)
        return [
            self._result(item, next(answers[item.queue])) if isinstance(item, Prepared) else item
            for item in prepared
        ]


def tasks_of(results: Iterable[Task | EnqueueError]) -> list[Task]:
    """Return the tasks of results, or raise why one of them was refused.

    Those that were left out for another's sake are not the reason.
    """
    tasks, refused = list[Task](), list[EnqueueError]()
    for found in results:
        if isinstance(found, EnqueueError):
            refused.append(found)
        else:
            tasks.append(found)
    if refused:
        raise min(refused, key=lambda error: type(error) is EnqueueError)
    return tasks


def _size(task: NewTask) -> int:
    return len(task.data)
