"""How the commands reach the broker: by flag, by configuration, or through a local `duly up`."""

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from duly.cli.connection import Connection, profile_file

if TYPE_CHECKING:  # they take half a second to import, which `duly --help` does not need
    from duly.engine.enqueue.client import Client
    from duly.engine.inspection.inspector import Inspector
    from duly.runtime.settings import RedisSettings, Settings

    _OpenInspector = Callable[[RedisSettings], AbstractAsyncContextManager[Inspector]]
    _OpenClient = Callable[..., AbstractAsyncContextManager[Client]]

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Opens an inspector or a client for one command."""

    config: Path | None = None
    connection: Connection = field(default_factory=Connection)
    timeout: timedelta | None = None
    """Instead of `redis.timeout`."""
    verbose: bool = False
    inspector: "_OpenInspector | None" = None
    """None: `Inspector.connect`."""
    client: "_OpenClient | None" = None
    """None: `Client.connect`."""

    def within(self, timeout: timedelta) -> "Access":
        """Return the same with less patience."""
        return replace(self, timeout=timeout)

    def inspect(self, ask: "Callable[[Inspector], Awaitable[_Answer]]") -> _Answer:
        """Return what `ask` gets from an inspector.

        Raises:
            BrokerDownError: The broker does not answer.
            ConfigError: The configuration is wrong.
        """
        import asyncio

        from duly.engine.inspection.inspector import Inspector

        connect = self.inspector or Inspector.connect

        async def session() -> _Answer:
            async with connect(self.redis()) as inspector:
                return await ask(inspector)

        return asyncio.run(session())

    def produce(
        self, act: "Callable[[Client], Awaitable[_Answer]]", *, create_queues: bool = False
    ) -> _Answer:
        """Return what `act` gets from a client of the configured queues, with their limits.

        Args:
            act: What is to be done.
            create_queues: Accept a queue that nobody has declared.

        Raises as `inspect` does.
        """
        import asyncio

        from duly.engine.enqueue.client import Client

        connect = self.client or Client.connect

        async def session() -> _Answer:
            settings = self.settings()
            redis, queues = self._broker(settings), settings.queues
            async with connect(redis, queues, create_queues=create_queues) as client:
                return await act(client)

        return asyncio.run(session())

    def redis(self) -> "RedisSettings":
        """Return the broker to connect to."""
        return self._broker(self.settings())

    def queues(self) -> set[str]:
        """Return the names of the queues that the settings declare."""
        return set(self.settings().queues)

    def settings(self) -> "Settings":
        """Return the configuration; the options of the command line choose the broker alone.

        Raises:
            ConfigError: It is wrong.
        """
        from duly.runtime.loading import load
        from duly.runtime.settings import Settings

        return load(Settings, self.config)

    def _broker(self, settings: "Settings") -> "RedisSettings":
        chosen = self._chosen(settings)
        return chosen.model_copy(update={"timeout": self.timeout}) if self.timeout else chosen

    def _chosen(self, settings: "Settings") -> "RedisSettings":
        from pydantic import SecretStr

        if self.connection.given:
            url = self.connection.redis_url is not None
            self._say("the server of --redis-url" if url else "the server of the options")
            return self.connection.applied(settings.redis)
        from duly.runtime.running import find_broker

        local = None if self.config is not None else find_broker(settings)
        if local is not None:
            self._say(f"{local.redis_url} of `duly up` (pid {local.pid})")
            return settings.redis.model_copy(update={"url": SecretStr(local.redis_url)})
        self._say("the configured server")
        return settings.redis

    def _say(self, whom: str) -> None:
        if self.verbose:
            print(f"duly: using {whom}", file=sys.stderr)  # noqa: T201 - the command line's output


def configured(
    access: Access,
    *,
    config: Path | None,
    profile: str | None,
    verbose: bool,
    **options: Any,  # noqa: ANN401 - those of `Connection`
) -> Access:
    """Return an access with the global options applied.

    Raises:
        MisuseError: There is no such profile.
    """
    known = {field.name for field in fields(Connection)}
    return replace(
        access,
        config=config if profile is None or config is not None else profile_file(profile),
        connection=Connection(**{key: each for key, each in options.items() if key in known}),
        verbose=verbose,
    )


def access_of(context: typer.Context) -> Access:
    """Return the access that the global options have configured."""
    access = context.obj
    if not isinstance(access, Access):
        message = "the command was called without its entry point"
        raise TypeError(message)
    return access
