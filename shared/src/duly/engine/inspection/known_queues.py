"""Which queues there are, and reading them so that one which cannot be read hides no other."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from duly.engine.storage import scripts
from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import KEY_TYPES, QUEUES, QueueKeys, queue_keys
from duly.engine.storage.store import Store
from duly.errors import BrokerDownError, BrokerError, DulyError, NotFoundError
from duly.job import is_name

Answer = TypeVar("Answer")
_PER_CALL: Final = 500
"""A call that looks at one field of so many queues holds the broker up for less than a ms."""


class UnreadableQueueError(BrokerError):
    """Something that is not duly's stands under a key of the queue."""

    def __init__(self, queue: str, cause: object) -> None:
        self.queue, self.cause = queue, cause
        super().__init__(f"queue {queue} cannot be read: {cause}")


@dataclass(frozen=True, slots=True)
class Answers(Generic[Answer]):
    """What each queue answered."""

    read: Mapping[str, Answer]
    """Queue → answer."""
    unreadable: Mapping[str, DulyError]
    """Queue → why it could not be read."""


class KnownQueues:
    """The queues that something was enqueued to, or that a worker serves.

    Attributes:
        store: Of the broker.
        may_run_scripts: Whether its user may, as a script has shown; None: none was tried yet.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.may_run_scripts: bool | None = None

    async def names(self) -> list[str]:
        """Return the names of all queues, sorted; members of the set that are no names are not."""
        names = texts(await self.store.connection.command("SMEMBERS", QUEUES))
        return sorted(filter(is_name, names))

    async def keys(self, name: str) -> QueueKeys:
        """Return the keys of a known queue.

        Raises:
            NotFoundError: No such queue.
        """
        if not is_name(name):
            raise NotFoundError("queue", name)
        if not await self.store.connection.command("SISMEMBER", QUEUES, name):
            raise NotFoundError("queue", name)
        return queue_keys(name)

    async def each(
        self,
        read: Callable[[QueueKeys], Awaitable[Answer]],
        names: Sequence[str] | None = None,
    ) -> Answers[Answer]:
        """Read queues, each by itself.

        Args:
            read: Reads one.
            names: Which; None: all.

        Raises:
            BrokerDownError: The broker does not answer for any queue.
        """
        found: dict[str, Answer] = {}
        failed: dict[str, DulyError] = {}
        names = await self.names() if names is None else names
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            answers = await concurrently(self.report(queue_keys(name), read) for name in part)
            for name, answer in zip(part, answers, strict=True):
                if isinstance(answer, DulyError):
                    failed[name] = answer
                else:
                    found[name] = answer
        down = [error for error in failed.values() if isinstance(error, BrokerDownError)]
        if down and not found:
            raise down[0]
        return Answers(found, failed)

    async def holder(self, name: Literal["index", "entries"], field: str) -> str | None:
        """Return a queue that has a field in one of its hashes; None: no queue has it.

        See `holders` for the rest.
        """
        found = await self.holders(name, field)
        return found[0] if found else None

    async def holders(self, name: Literal["index", "entries"], field: str) -> Sequence[str]:
        """Return the queues that have a field in one of their hashes.

        Where scripts are known to run, it takes one command for 500 queues, else one for each.

        Args:
            name: Which hash.
            field: A task's id, or that of a schedule entry.

        Raises:
            UnreadableQueueError: None has it that can be read, and not all can.
            BrokerDownError: The broker does not answer for any queue.
        """

        async def has(keys: QueueKeys) -> bool:
            return bool(await self.store.connection.command("HEXISTS", getattr(keys, name), field))

        names = await self.names()
        there, unread = await self._holders(names, name, field)
        answers = await self.each(has, unread)
        found = [*there, *(queue for queue, has_it in answers.read.items() if has_it)]
        if answers.unreadable and not found:
            raise next(iter(answers.unreadable.values()))
        return found

    async def at_once(self, call: scripts.Call, count: int) -> Sequence[Any]:
        """Return what a script that reads several queues says of each; None: ask it by itself.

        It says nothing in a Cluster, nor where it is not known that scripts may run.

        Args:
            call: The run of the script.
            count: How many queues.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        if self.may_run_scripts and self.store.connection.cluster is None:
            try:
                answers: Sequence[Any] = await self.store.run(call)
            except BrokerDownError:
                raise
            except BrokerError:
                pass  # the right was taken away
            else:
                return answers
        return [None] * count

    async def _holders(
        self, names: Sequence[str], name: str, field: str
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Return the queues that have a field, and those that each have to be asked themselves."""
        answers: list[int | None] = []
        for start in range(0, len(names), _PER_CALL):
            part = names[start : start + _PER_CALL]
            hashes = [getattr(queue_keys(each), name) for each in part]
            answers += await self.at_once(scripts.holders(hashes, field), len(part))
        said = dict(zip(names, answers, strict=True))
        there = [queue for queue, answer in said.items() if answer]
        return there, [queue for queue, answer in said.items() if answer is None]

    async def report(
        self, keys: QueueKeys, read: Callable[[QueueKeys], Awaitable[Answer]]
    ) -> Answer:
        """Read one queue, of which every key and its content has to be duly's.

        Raises:
            UnreadableQueueError: One is not.
        """
        try:
            return await self.one(keys, read)
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            raise UnreadableQueueError(keys.name, f"malformed content: {error}") from error

    async def one(self, keys: QueueKeys, read: Callable[[QueueKeys], Awaitable[Answer]]) -> Answer:
        """Read something of one queue.

        Raises:
            UnreadableQueueError: A key has another type than duly gives it; the error says which.
        """
        try:
            return await read(keys)
        except BrokerError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise UnreadableQueueError(keys.name, await self._misfits(keys) or error) from error

    async def _misfits(self, keys: QueueKeys) -> str:
        """Say which of a queue's keys have the type of something else."""
        wanted = {getattr(keys, name): expected for name, expected in KEY_TYPES.items()}
        return "; ".join(await misfits(self.store, wanted))


async def misfits(store: Store, wanted: Mapping[str, str]) -> list[str]:
    """Return of each key that has another type than it is to have what to do about it.

    Args:
        store: The broker.
        wanted: Key → type. All keys are of one queue; a key that is missing fits.
    """
    types = await store.connection.many([("TYPE", key) for key in wanted])
    return [
        misfit(key, actual, expected)
        for (key, expected), actual in zip(wanted.items(), texts(types), strict=True)
        if actual not in {expected, "none"}
    ]


def misfit(key: str, actual: str, expected: str) -> str:
    """Return what to do about a key that is of another type than expected."""
    return f"key {key} is a {actual}, not a {expected}: rename or delete it"


def check_name(noun: str, name: str) -> None:
    """Refuse a name that no broker holds, since it is no text: lone surrogates of a command line.

    Raises:
        NotFoundError: It is not.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise NotFoundError(noun, name) from None
