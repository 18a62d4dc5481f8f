"""What servers ask before they run tasks of kinds with limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Argument, Call, script

SHORTEST_REST_MS = 15_000
"""Until a task without a permit comes back by itself; it is woken long before, as a rule."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks of a kind run at once in a queue, and how often one begins."""

    most: int = 0
    """0: any number."""
    every_us: int = 0
    """Microseconds between two beginnings in the long run; 0: no rate."""
    burst: int = 1
    """Tasks that may begin at once after a calm."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A task whose server asks whether it may run."""

    entry: bytes
    id: str
    tries: str
    """Its counts, as they are kept when it is set aside without a token."""
    tries_with_token: str
    has_token: bool = False
    """It has been set aside until a token of the rate was due, and comes with it."""


def permit(
    keys: QueueKeys,
    kind: str,
    limit: Limit,
    tasks: Iterable[Asking],
    *,
    rest_ms: int = SHORTEST_REST_MS,
    now_ms: int = 0,
) -> Call:
    """Let tasks run or set them aside. Answers for each 0, -1 (not its server's) or ms to wait."""
    args: list[Argument] = [now_ms, GROUP, kind, limit.most, limit.every_us, limit.burst, rest_ms]
    for task in tasks:
        args += (task.entry, task.id, task.tries, task.tries_with_token, int(task.has_token))
    return Call(script("permit"), _keys(keys, kind), args)


def wake(keys: QueueKeys, kind: str, *, most: int, entries: Sequence[bytes] = ()) -> Call:
    """Take permits back, wake tasks that wait for one. Answers how many wait in the stream now."""
    names = (*_keys(keys, kind), keys.history)
    return Call(script("wake"), names, (GROUP, kind, most, *entries))


def _keys(keys: QueueKeys, kind: str) -> tuple[str, ...]:
    return (
        keys.stream,
        keys.index,
        keys.scheduled,
        keys.records,
        keys.tries,
        keys.limits,
        keys.permits(kind),
        keys.parked(kind),
    )
