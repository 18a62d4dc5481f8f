"""The clients of an application: open for as long as somebody has connected it."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import SecretStr

from duly.errors import DulyError

if TYPE_CHECKING:
    from duly.engine.enqueue.blocking_client import BlockingClient
    from duly.engine.enqueue.client import Client
    from duly.runtime.settings import QueueSettings, RedisSettings

C = TypeVar("C")


class OpenClients(Generic[C]):
    """Who is connected: several blocks may overlap, each with a client of its own.

    Code in a block, and in the threads and asyncio tasks that have its context, finds the client of
    the innermost one. Code beside all blocks finds the one that has been open the longest: a web
    application is connected in another task than its requests.
    """

    def __init__(self, name: str) -> None:
        self._blocks = ContextVar[tuple[Callable[[], C], ...]](name, default=())
        self._open: list[Callable[[], C]] = []

    def find(self) -> C | None:
        """Return the client of this code; None: it is not connected, or its blocks are over."""
        blocks, now_open = self._blocks.get(), tuple(self._open)
        if blocks:
            now_open = tuple(each for each in reversed(blocks) if each in now_open)
        return now_open[0]() if now_open else None

    def keep(self, source: Callable[[], C]) -> None:
        """Let this give the client to everybody, until the process ends."""
        self._open.append(source)

    @contextmanager
    def using(self, source: Callable[[], C]) -> Iterator[None]:
        """Let this give the client, for the body of a `with`."""
        self._blocks.set((*self._blocks.get(), source))
        self._open.append(source)
        try:
            yield
        finally:
            self._open.remove(source)
            # Not by the token: a block may be left in another context than it was entered in.
            self._blocks.set(tuple(each for each in self._blocks.get() if each is not source))


class AppClients:
    """Knows the clients of one application.

    Args:
        name: The application's, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._clients = OpenClients["Client"](f"client of {name}")
        self._blocking_clients = OpenClients["BlockingClient"](f"blocking client of {name}")
        self._is_kept = False

    @property
    def client(self) -> "Client":
        """The client of code in an event loop.

        Raises:
            DulyError: The application is not connected.
        """
        if (client := self._clients.find()) is None:
            raise DulyError(
                f"the app {self._name!r} is not connected: enqueue within "
                "`async with app.connect():`, or `with app.connect_blocking():` without a loop"
            )
        return client

    @property
    def blocking_client(self) -> "BlockingClient":
        """The client of code without an event loop.

        Raises:
            DulyError: The application is not connected.
        """
        if (client := self._blocking_clients.find()) is None:
            raise DulyError(
                f"the app {self._name!r} is not connected: enqueue within "
                "`with app.connect_blocking():`, or `async with app.connect():` in a loop"
            )
        return client

    @contextmanager
    def using(self, client: "Client") -> Iterator["Client"]:
        """Enqueue by a client that somebody else has opened, for the body of a `with`."""
        with self._clients.using(lambda: client):
            yield client

    @contextmanager
    def opening_when_asked(
        self, redis: "RedisSettings", queues: "Mapping[str, QueueSettings] | None"
    ) -> Iterator[None]:
        """Let handlers in threads enqueue, for the body of a `with`: most never do."""
        from duly.engine.enqueue.blocking_client import BlockingClient

        with ExitStack() as stack:
            opened = _Once(lambda: stack.enter_context(BlockingClient(redis, queues)))
            with self._blocking_clients.using(opened):
                yield

    def open_when_asked(self, open_client: "Callable[[], BlockingClient]") -> None:
        """Let what runs in this process enqueue by a client that is never closed. Idempotent.

        Args:
            open_client: Called when somebody enqueues for the first time.
        """
        if not self._is_kept:
            self._is_kept = True
            self._blocking_clients.keep(_Once(open_client))

    @asynccontextmanager
    async def connect(
        self,
        redis: "RedisSettings | str | None",
        queues: "Mapping[str, QueueSettings] | None",
    ) -> AsyncIterator["Client"]:
        """Open a client for the body of an `async with`; see `App.connect`."""
        from duly.engine.enqueue.client import Client

        found, declared = _broker(redis, queues)
        async with Client.connect(found, declared) as client:
            with self.using(client):
                yield client

    @contextmanager
    def connect_blocking(
        self,
        redis: "RedisSettings | str | None",
        queues: "Mapping[str, QueueSettings] | None",
    ) -> Iterator["BlockingClient"]:
        """Open a blocking client for the body of a `with`; see `App.connect_blocking`."""
        from duly.engine.enqueue.blocking_client import BlockingClient

        found, declared = _broker(redis, queues)
        with (
            BlockingClient(found, declared) as client,
            self._blocking_clients.using(lambda: client),
        ):
            yield client


class _Once(Generic[C]):
    """Opens a client when it is first asked for; from then on gives that one."""

    def __init__(self, open_client: Callable[[], C]) -> None:
        self._open, self._lock = open_client, threading.Lock()
        self._client: C | None = None

    def __call__(self) -> C:
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client


def _broker(
    redis: "RedisSettings | str | None", queues: "Mapping[str, QueueSettings] | None"
) -> "tuple[RedisSettings, Mapping[str, QueueSettings] | None]":
    from duly.runtime.settings import RedisSettings

    if isinstance(redis, RedisSettings):
        return redis, queues
    if isinstance(redis, str):
        return RedisSettings(url=SecretStr(redis)), queues
    from duly.runtime.loading import load
    from duly.runtime.running import find_broker
    from duly.runtime.settings import Settings

    settings = load(Settings)
    found, local = settings.redis, find_broker(settings)
    if local is not None:
        found = found.model_copy(update={"url": SecretStr(local.redis_url)})
    return found, settings.queues if queues is None else queues
