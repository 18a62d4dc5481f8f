"""Enqueue when a session of SQLAlchemy has committed, and nothing when it rolls back.

>>> with Session(engine) as session, session.begin():  # doctest: +SKIP
...     session.add(order)
...     enqueue_on_commit(session, client, SendInvoice(order_id=order.id))

Between the commit and the enqueue the process may die, and the job is then lost: where that must
not happen, use `duly.integrations.outbox`.
"""

from typing import TypeAlias

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.util import await_only
from typing_extensions import Unpack

from duly.app.functions import Options
from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.enqueue.client import Client
from duly.engine.enqueue.request import Request
from duly.errors import BrokerError, EnqueueError
from duly.integrations.requests import NotEnqueuedError, request_of
from duly.job import Job
from duly.task import Task

AnySession: TypeAlias = (
    Session | scoped_session[Session] | AsyncSession | async_scoped_session[AsyncSession]
)
_KEY = "duly.on_commit"


def enqueue_on_commit(
    session: AnySession,
    client: Client | BlockingClient,
    job: Job,
    **options: Unpack[Options],
) -> str:
    """Enqueue a job once the session's transaction is committed; return the id of its task.

    The job is checked now. Nothing is enqueued when the transaction, or the savepoint in which
    this was called, is rolled back. Jobs are enqueued in the order of the calls, all of a
    transaction in one go, before `commit` returns.

    Args:
        session: With a transaction, or it begins one. A session of a test that never really
            commits enqueues when it appears to commit.
        client: `BlockingClient` for a session, `Client` for an asynchronous one.
        job: What is to be done.
        options: Those of `Client.enqueue`; a delay is counted from the commit.

    Raises:
        EnqueueError: The job or an option is wrong.
        TypeError: Session and client do not belong together.
        NotEnqueuedError: By `commit`: the transaction is committed, and the broker did not take
            all jobs.
    """
    if isinstance(session, scoped_session | async_scoped_session):
        session = session()
    if isinstance(session, AsyncSession) is not isinstance(client, Client):
        raise TypeError(
            f"a {type(client).__name__} cannot be used with a {type(session).__name__}: "
            "a Session needs a BlockingClient, an AsyncSession a Client"
        )
    request, task_id = request_of(job, options)
    plain = session.sync_session if isinstance(session, AsyncSession) else session
    pending = plain.info.get(_KEY)
    if pending is None:
        pending = plain.info[_KEY] = _Pending(plain)
    pending.add(client, request)
    return task_id


class _Pending:
    """What a session enqueues once its transaction is committed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._items: list[tuple[SessionTransaction, Client | BlockingClient, Request]] = []
        self._committed = False
        event.listen(session, "after_commit", self._on_commit)
        event.listen(session, "after_transaction_end", self._on_end)

    def add(self, client: Client | BlockingClient, request: Request) -> None:
        session = self._session
        here = session.get_nested_transaction() or session.get_transaction() or session.begin()
        self._items.append((here, client, request))

    def _on_commit(self, session: Session) -> None:
        """What a savepoint holds belongs to what is around it, once it is released."""
        nested = session.get_nested_transaction()
        if nested is None:
            self._committed = True
            return
        around = nested.parent
        self._items = [
            (around if here is nested and around is not None else here, client, request)
            for here, client, request in self._items
        ]

    def _on_end(self, _: Session, ended: SessionTransaction) -> None:
        if ended.parent is None:
            items, self._items = self._items, []
            committed, self._committed = self._committed, False
            if committed:
                _enqueue([(client, request) for _, client, request in items])
            return
        self._items = [item for item in self._items if item[0] is not ended]


def _enqueue(items: list[tuple[Client | BlockingClient, Request]]) -> None:
    """Enqueue what a transaction has left.

    Raises:
        NotEnqueuedError: Not all of it was accepted.
    """
    failed: list[tuple[Request, Exception]] = []
    for client in dict.fromkeys(client for client, _ in items):
        requests = [request for of, request in items if of is client]
        try:
            failed += [
                (request, result)
                for request, result in zip(requests, _results(client, requests), strict=True)
                if isinstance(result, EnqueueError)
            ]
        except BrokerError as error:
            failed += [(request, error) for request in requests]
    if failed:
        raise NotEnqueuedError(failed) from failed[0][1]


def _results(client: Client | BlockingClient, requests: list[Request]) -> list[Task | EnqueueError]:
    if isinstance(client, BlockingClient):
        return client.try_enqueue_many(requests)
    # An AsyncSession runs its session in a greenlet, from which its loop can be awaited.
    return await_only(client.try_enqueue_many(requests))
