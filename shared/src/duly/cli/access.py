"""How the commands reach the broker: by flag, by configuration, or by the `duly up` next door."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import typer
from pydantic import SecretStr

from duly.engine.client import Client
from duly.engine.inspector import Inspector
from duly.local import running
from duly.local.plan import embeds_broker
from duly.runtime.loading import load
from duly.runtime.settings import RedisSettings, Settings

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Opens an inspector or a client for one command."""

    config: Path | None = None
    redis_url: str | None = None
    verbose: bool = False
    inspector: Callable[[RedisSettings], AbstractAsyncContextManager[Inspector]] = Inspector.connect
    client: Callable[[RedisSettings], AbstractAsyncContextManager[Client]] = Client.connect

    def configured(self, *, config: Path | None, redis_url: str | None, verbose: bool) -> "Access":
        """Return the same with the global flags in place."""
        return replace(self, config=config, redis_url=redis_url, verbose=verbose)

    def inspect(self, ask: Callable[[Inspector], Awaitable[_Answer]]) -> _Answer:
        """Return what `ask` gets from an inspector.

        Raises:
            BrokerDownError: The broker does not answer.
            ConfigError: The configuration is wrong.
        """

        async def session() -> _Answer:
            async with self.inspector(self.redis()) as inspector:
                return await ask(inspector)

        return asyncio.run(session())

    def produce(self, act: Callable[[Client], Awaitable[_Answer]]) -> _Answer:
        """Return what `act` gets from a client. Raises as `inspect` does."""

        async def session() -> _Answer:
            async with self.client(self.redis()) as client:
                return await act(client)

        return asyncio.run(session())

    def redis(self) -> RedisSettings:
        """Return the broker to talk to."""
        settings = load(Settings, self.config)
        if self.redis_url is not None:
            self._say("the server of --redis-url")
            return settings.redis.model_copy(update={"url": SecretStr(self.redis_url)})
        if self.config is None and embeds_broker(settings):
            local = running.find()
            if local is not None and local.redis_url:
                self._say(f"{local.redis_url} of `duly up` (pid {local.pid})")
                return settings.redis.model_copy(update={"url": SecretStr(local.redis_url)})
        self._say("the configured server")
        return settings.redis

    def _say(self, whom: str) -> None:
        if self.verbose:
            print(f"duly: asking {whom}", file=sys.stderr)  # noqa: T201 - the command line's output


def access_of(context: typer.Context) -> Access:
    """Return what the global flags have made of the access."""
    access = context.obj
    if not isinstance(access, Access):
        message = "the command was called without its entry point"
        raise TypeError(message)
    return access
