"""The queues that tasks may be added to, and how many tasks each may hold.

A task in a queue that nobody serves waits for ever, and nobody sees why: a name that neither the
settings nor the broker knows is most likely mistyped. The broker knows the queues that somebody has
served or used, and those that the kinds in its catalogue name.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from time import monotonic
from typing import Self

from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import KIND_KEYS, QUEUES
from duly.engine.storage.store import Store
from duly.errors import BrokerDownError, BrokerError, InvalidOptionError
from duly.runtime.settings import DEFAULT_QUEUES, QueueSettings

_MAX_LENGTH = QueueSettings().max_length
_MOST_NAMED = 20
_FRESH_SECONDS = 0.1
"""How long what the broker said counts as its answer to the next question, too."""


@dataclass(slots=True)
class _Declared:
    """What the broker has said so far."""

    known: set[str]
    create: bool
    published: bool = True
    """Whether any worker or scheduler has published a kind."""
    asked_at: float | None = None


class DeclaredQueues:
    """Refuses queues that neither the settings declare nor, by whoever uses them, the broker.

    What was declared once is remembered, so that only a name that is new here costs a question.

    Args:
        store: The broker; it is asked for names that are not in the settings.
        queues: Those of the settings; None: there are none. Then the queue of a job's own policy
            counts as declared, and so does any for as long as no worker or scheduler has published
            a kind: somebody has to begin, and a queue that a task is in says nothing of others.
        create: Whether any queue will do.
    """

    def __init__(
        self, store: Store, queues: Mapping[str, QueueSettings] | None, *, create: bool = False
    ) -> None:
        self._store, self._by_settings = store, queues is not None
        known = DEFAULT_QUEUES if queues is None else queues
        self._max_lengths = {name: queue.max_length for name, queue in known.items()}
        self._found = _Declared(set(queues or ()), create)

    def over(self, store: Store) -> Self:
        """Return the same queues, with the same memory, for who asks over another connection."""
        other = copy(self)
        other._store = store  # noqa: SLF001 - of its own class
        return other

    def knows(self, queue: str) -> bool:
        """Tell whether tasks may be added to a queue, as far as that is known without asking."""
        return queue in self._found.known

    async def check(self, queue: str, *, own: str = "") -> None:
        """Return if tasks may be added to a queue.

        Args:
            queue: Its name.
            own: The queue of the job's policy.

        Raises:
            InvalidOptionError: Nobody declares it; its task would wait for ever.
            BrokerDownError: The broker had to be asked, and did not answer.
        """
        if queue in self._found.known:
            return
        if not (self._found.create or (queue == own and not self._by_settings)):
            await self._ask()
            if queue not in self._found.known and not self._takes_any:
                raise self._refused(queue)
        self._found.known.add(queue)

    @property
    def _takes_any(self) -> bool:
        return self._found.create or not (self._by_settings or self._found.published)

    async def _ask(self) -> None:
        now = monotonic()
        if self._found.asked_at is not None and now - self._found.asked_at < _FRESH_SECONDS:
            return
        try:
            ask = self._store.connection.command
            used = texts(await ask("SMEMBERS", QUEUES))
            published = texts(await ask("SMEMBERS", KIND_KEYS.queues))
        except BrokerDownError:
            raise
        except BrokerError:
            # A user of the broker without the right to ask, by the rules of an older version.
            self._found.create = True
            return
        self._found.asked_at = now
        self._found.known.update(used, published)
        self._found.published = bool(published)

    def _refused(self, queue: str) -> InvalidOptionError:
        known = sorted(self._found.known)
        close = get_close_matches(queue, known, n=1)
        names = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
        hint = f"did you mean {close[0]!r}? " if close else ""
        way = "declare a new one under queues, or use create_queues"
        remedy = f"{hint}known are: {names or 'none'}; {way}"
        problem = "is declared neither in the settings nor in the broker"
        return InvalidOptionError("queue", queue, problem, remedy)

    def max_length(self, queue: str) -> int:
        """Return how many waiting and active tasks a queue may hold."""
        return self._max_lengths.get(queue, _MAX_LENGTH)
