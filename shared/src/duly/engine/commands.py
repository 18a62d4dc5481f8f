"""What servers are told from afar: to take no more tasks, to take them again, to stop."""

from collections.abc import Iterable
from enum import StrEnum

from duly.engine import scripts
from duly.engine.keys import queue_keys
from duly.engine.store import Store
from duly.errors import NotFoundError


class Command(StrEnum):
    """What a server may be told."""

    QUIET = "quiet"
    """Take no more tasks; what runs goes on, heartbeats too."""
    WAKE = "wake"
    """Take tasks again."""
    STOP = "stop"
    """Stop as on SIGTERM: drain, hand back the rest, exit with 0."""


async def tell(store: Store, server: str, command: Command, queues: Iterable[str]) -> None:
    """Tell a live server what to do; its next heartbeat, which comes at once, learns of it.

    Safe to repeat. Of several commands the last one counts.

    Raises:
        NotFoundError: No live server of these queues has this id.
    """
    told = 0
    for name in queues:
        call = scripts.command(queue_keys(name), server=server, word=command)
        told += int(await store.run(call))
    if not told:
        raise NotFoundError("server", server)
