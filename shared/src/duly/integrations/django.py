"""Enqueue when Django has committed, and nothing when it rolls back.

>>> with transaction.atomic():  # doctest: +SKIP
...     order.save()
...     enqueue_on_commit(client, SendInvoice(order_id=order.pk))

Between the commit and the enqueue the process may die, and the job is then lost.
"""

from django.db import transaction
from typing_extensions import Unpack

from duly.app.functions import Options
from duly.engine.enqueue.blocking_client import BlockingClient
from duly.errors import BrokerError, EnqueueError
from duly.integrations.requests import NotEnqueuedError, request_of
from duly.job import Job


def enqueue_on_commit(
    client: BlockingClient,
    job: Job,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Unpack[Options],
) -> str:
    """Enqueue a job once the transaction is committed; return the id of its task.

    The job is checked now. Nothing is enqueued when the transaction, or the `atomic` block in
    which this was called, is rolled back. Outside of a transaction it is enqueued at once.

    Args:
        client: Open; one for the whole process.
        job: What is to be done.
        using: The database whose transaction counts; None: the default one.
        robust: Log an error after the commit instead of raising it, and go on with what else is
            to be done on commit.
        options: Those of `Client.enqueue`; a delay is counted from the commit.

    Raises:
        EnqueueError: The job or an option is wrong.
        NotEnqueuedError: By the end of the `atomic` block: the transaction is committed, and the
            broker did not take the job.
    """
    request, task_id = request_of(job, options)

    def enqueue() -> None:
        try:
            client.enqueue_many([request])
        except (EnqueueError, BrokerError) as error:
            raise NotEnqueuedError([(request, error)]) from error

    transaction.on_commit(enqueue, using=using, robust=robust)
    return task_id
