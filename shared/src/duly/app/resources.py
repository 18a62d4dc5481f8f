"""What a process of an application opens: its lifespans, and what dependencies find ready."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from duly.app.calls import Provided
from duly.app.declaration import App
from duly.app.signatures import name_of
from duly.errors import ConfigError, DulyError, describe


class LifespanError(DulyError):
    """A lifespan could not be opened.

    Args:
        function: It.
        cause: What it raised.
    """

    def __init__(self, function: Callable[..., Any], cause: BaseException) -> None:
        self.function, self.cause = function, cause
        super().__init__(f"the lifespan {name_of(function)} raised {describe(cause)}")


@asynccontextmanager
async def opened(app: App, known: Provided) -> AsyncIterator[Provided]:
    """Open the lifespans of an application for the body, close them in reverse order after it.

    Raises:
        ConfigError: One of them found a setting wrong; those before it are closed.
        LifespanError: One of them raised anything else; likewise.
    """
    async with AsyncExitStack() as stack:
        for declared in app.lifespans:
            function = app.dependency_overrides.get(declared, declared)
            try:
                value = await stack.enter_async_context(_one(function, known))
            except ConfigError:
                raise  # it says itself what is wrong, and where
            except Exception as error:
                raise LifespanError(declared, error) from error
            known = Provided({**known.values, declared: value}, known.overrides)
        yield known


@asynccontextmanager
async def _one(function: Callable[..., Any], known: Provided) -> AsyncIterator[Any]:
    async with known.graph(function).async_ctx(known.cache()) as resolving:
        given = await resolving.resolve_kwargs()
        inner = inspect.unwrap(function)
        if inspect.isasyncgenfunction(inner):
            async with asynccontextmanager(inner)(**given) as value:
                yield value
        elif inspect.isgeneratorfunction(inner):
            with contextmanager(inner)(**given) as value:
                yield value
        else:  # an override for tests may simply return what tasks are to get
            value = function(**given)
            yield await value if inspect.isawaitable(value) else value


async def call(function: Callable[..., Any], known: Provided) -> Any:  # noqa: ANN401
    """Return what a function returns that is called with its dependencies."""
    async with known.graph(function).async_ctx(known.cache()) as resolving:
        answer = function(**await resolving.resolve_kwargs())
        return await answer if inspect.isawaitable(answer) else answer
