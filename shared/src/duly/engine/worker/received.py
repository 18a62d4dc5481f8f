"""A task as it was read from its queue: decoded once, and passed on as one object to its end."""

import msgspec

from duly.engine.storage.codec import Message, decode, lock_of
from duly.engine.storage.delivery import Delivery
from duly.engine.storage.scripts import Returned
from duly.errors import MalformedTaskError


class Received(msgspec.Struct, eq=False):
    """One entry of a queue's stream that this server now owns."""

    queue: str
    delivery: Delivery
    message: Message | None
    """None: the entry is not a task, see `problem`."""
    problem: str = ""
    """Why the entry is not a task, without a quotation from it; "": it is one."""

    @property
    def task_id(self) -> str:
        """The task's id; where the entry has none, the entry's own."""
        return self.message.task_id if self.message else self.delivery.stream_id.decode()

    @property
    def returned(self) -> Returned:
        """What lets it wait again, unchanged."""
        return Returned(self.delivery.stream_id, self.message.task_id if self.message else "")

    @property
    def lock(self) -> str:
        """Digest of the task's unique lock, or ""."""
        return lock_of(self.message) if self.message else ""


def received(queue: str, delivery: Delivery) -> Received:
    """Decode a delivery. Never raises: what is no task says so in `problem`."""
    if delivery.data is None:
        return Received(queue, delivery, None, "the entry has no field data")
    try:
        return Received(queue, delivery, decode(delivery.data))
    except MalformedTaskError as error:
        return Received(queue, delivery, None, error.reason)
