"""What runs when: the file to edit. Each entry is a job, how often it is due, and its queue."""

from duly.jobs import CheckPendingOrders
from duly.schedule import Entry, Overlap
from duly_scheduler.settings import Settings


def timetable(settings: Settings) -> tuple[Entry, ...]:
    """Return the entries. Their ids stay: the claims and the history of ticks hang on them."""
    return (
        Entry(
            id="check-pending-orders",
            job=CheckPendingOrders(),
            interval=settings.scheduler.interval,
            overlap=Overlap.SKIP,
        ),
    )
