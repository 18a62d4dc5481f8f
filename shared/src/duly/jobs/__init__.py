"""The catalogue: every kind of job the system knows. Payloads only, no code that runs them."""

from duly.errors import UnknownKindError
from duly.job import Job
from duly.jobs.orders import CheckPendingOrders

__all__ = ["CATALOGUE", "CheckPendingOrders", "job_class"]

CATALOGUE: dict[str, type[Job]] = {job.kind: job for job in (CheckPendingOrders,)}
"""kind → payload class. Add a line here for a new job."""


def job_class(kind: str) -> type[Job]:
    """Return the payload class of a kind.

    Raises:
        UnknownKindError: The catalogue has no such kind.
    """
    try:
        return CATALOGUE[kind]
    except KeyError:
        raise UnknownKindError(kind, tuple(sorted(CATALOGUE))) from None
