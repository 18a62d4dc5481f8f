"""The clients of an application: open for as long as somebody has connected it."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from duly.errors import DulyError

if TYPE_CHECKING:
    from duly.engine.enqueue.blocking_client import BlockingClient
    from duly.engine.enqueue.client import Client
    from duly.runtime.settings import QueueSettings, RedisSettings


class AppClients:
    """Knows the clients of one application.

    Args:
        name: The application's, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: Client | None = None
        self._blocking_client: BlockingClient | None = None
        self._lock = threading.Lock()
        self._opens: Callable[[], BlockingClient] | None = None
        """Opens the blocking client when it is first asked for."""

    @property
    def client(self) -> "Client":
        """The client of code in an event loop.

        Raises:
            DulyError: The application is not connected.
        """
        if self._client is None:
            raise DulyError(
                f"the app {self._name!r} is not connected: enqueue within "
                "`async with app.connect():`, or `with app.connect_blocking():` without a loop"
            )
        return self._client

    @property
    def blocking_client(self) -> "BlockingClient":
        """The client of code without an event loop.

        Raises:
            DulyError: The application is not connected.
        """
        with self._lock:
            if self._blocking_client is None and self._opens is not None:
                self._blocking_client = self._opens()
        if self._blocking_client is None:
            raise DulyError(
                f"the app {self._name!r} is not connected: enqueue within "
                "`with app.connect_blocking():`, or `async with app.connect():` in a loop"
            )
        return self._blocking_client

    @contextmanager
    def using(self, client: "Client") -> Iterator["Client"]:
        """Enqueue by a client that somebody else has opened, for the body of a `with`."""
        before, self._client = self._client, client
        try:
            yield client
        finally:
            self._client = before

    @contextmanager
    def opening_when_asked(
        self, redis: "RedisSettings", queues: "Mapping[str, QueueSettings] | None"
    ) -> Iterator[None]:
        """Let handlers in threads enqueue, for the body of a `with`: most never do."""
        from duly.engine.enqueue.blocking_client import BlockingClient

        with ExitStack() as stack:
            self._opens = lambda: stack.enter_context(BlockingClient(redis, queues))
            try:
                yield
            finally:
                self._opens, self._blocking_client = None, None

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
        before = self._blocking_client
        with BlockingClient(found, declared) as client:
            self._blocking_client = client
            try:
                yield client
            finally:
                self._blocking_client = before


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
