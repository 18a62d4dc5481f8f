"""Tasks about mail."""

from collections.abc import AsyncGenerator
from typing import Annotated

from taskiq import TaskiqDepends

from shop.broker import broker, note


class Mailbox:
    """Sends mail, once it is open."""

    def send(self, to: str, subject: str) -> None:
        note("mail", to, subject)


async def mailbox() -> AsyncGenerator[Mailbox, None]:
    """Open a mailbox for one task."""
    yield Mailbox()
    note("mail closed")


@broker.task(task_name="mail:send")
async def send_mail(
    to: str, subject: str, box: Annotated[Mailbox, TaskiqDepends(mailbox)] = None
) -> None:
    """Send one mail."""
    box.send(to, subject)
