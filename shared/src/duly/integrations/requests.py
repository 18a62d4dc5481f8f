"""What is to be enqueued later: checked now, with an id that stays the same if it is repeated."""

import secrets
from collections.abc import Sequence

from msgspec.structs import replace

from duly.app.functions import Options
from duly.clock import SystemClock, to_unix_ms
from duly.engine.enqueue.request import Request, prepare
from duly.errors import DulyError
from duly.job import Job


def request_of(job: Job, options: Options) -> tuple[Request, str]:
    """Return a job with the options of `Client.enqueue` as a request, and the id of its task.

    Raises:
        TypeError: There is no such option.
        EnqueueError: It is wrong in itself: better now than when the transaction is committed.
    """
    request = Request(job=job, **options)
    prepare(request, to_unix_ms(SystemClock().now()), {})
    task_id = request.task_id or secrets.token_hex(16)
    return replace(request, task_id=task_id), task_id


class NotEnqueuedError(DulyError):
    """The transaction is committed, and the broker did not take all jobs that belong to it.

    What is not stored can be enqueued again: `client.enqueue_many(error.requests)`. Each request
    has the id of its task, so that one whose reply was lost is not enqueued twice.

    Attributes:
        requests: What was not accepted, as far as is known.
        causes: Why, one of each: an `EnqueueError` or a `BrokerError`.
    """

    def __init__(self, failed: Sequence[tuple[Request, Exception]]) -> None:
        self.requests = [request for request, _ in failed]
        self.causes = [error for _, error in failed]
        kinds = ", ".join(dict.fromkeys(request.job.kind for request in self.requests))
        super().__init__(
            f"the transaction is committed, but {len(failed)} of its jobs ({kinds}) could not be "
            f"enqueued: {self.causes[0]}"
        )
