"""Calls a declared function as the engine calls a handler: with its payload and its dependencies.

Dependencies are taskiq's. Each is resolved once an attempt; generators are closed in reverse order
when the function has ended, and learn of its error. A function that has none is called directly.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskiq_dependencies import DependencyGraph

from duly.app.signatures import Signature, name_of, read_signature
from duly.job import Job
from duly.runtime.returned import result_of
from duly.runtime.threads import is_async
from duly.task import TaskContext

if TYPE_CHECKING:
    from duly.engine.worker.taskiq_broker import Handler


@dataclass(frozen=True, slots=True)
class Provided:
    """What a process has ready for dependencies, instead of calling them for each attempt."""

    values: dict[Any, Any] = field(default_factory=dict)
    """Class or function → what stands for it."""
    overrides: Mapping[Any, Any] = field(default_factory=dict)
    """Dependency → what is called in its place."""

    def graph(self, function: Callable[..., Any]) -> DependencyGraph:
        """Return what a function depends on.

        Raises:
            TypeError: A dependency cannot be resolved.
        """
        try:
            return DependencyGraph(function, {**self.overrides, **self._stubs()})
        except ValueError as error:
            raise TypeError(f"{name_of(function)}: {error}") from None

    def cache(self) -> dict[Any, Any]:
        """Return what a graph takes as resolved."""
        return {**self.values, **{stub: self.values[it] for it, stub in self._stubs().items()}}

    def _stubs(self) -> dict[Any, Any]:
        """Return what is there already → a dependency that depends on nothing itself."""
        return {it: _Stub(it) for it in self.values if not isinstance(it, type)}


@dataclass(frozen=True)
class _Stub:
    """Takes the place of a function in a graph, so that its own dependencies stay out of it."""

    stands_for: Any

    def __call__(self) -> Any:  # noqa: ANN401
        """Never called: its value is in the cache."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A function that runs the tasks of one kind."""

    function: Callable[..., Any]
    job: type[Job]
    spread: bool
    """Whether it takes the fields of the payload by name, instead of the job as a whole."""

    @property
    def has_dependencies(self) -> bool:
        """Whether it takes more than the payload and the context."""
        signature = self._signature()
        return not signature.injected <= set(signature.contexts)

    def handler(self, provided: Provided) -> "Handler":
        """Return what the engine calls with job and context.

        Raises:
            TypeError: A dependency cannot be resolved.
        """
        signature = self._signature()
        if not self.has_dependencies:
            return self._direct(signature)
        graph = provided.graph(self.function)
        if is_async(self.function) or any(map(is_awaited, dependencies_of(graph))):
            return self._awaited(graph, provided, signature.contexts)
        return self._plain(graph, provided, signature.contexts)

    def _signature(self) -> Signature:
        return read_signature(self.function, after_job=not self.spread)

    def _direct(self, signature: Signature) -> "Handler":
        function, names, spread = self.function, signature.contexts, self.spread

        def plain(job: Job, context: TaskContext) -> Any:  # noqa: ANN401
            given = dict.fromkeys(names, context)
            return function(**job.__dict__, **given) if spread else function(job, **given)

        async def awaited(job: Job, context: TaskContext) -> Any:  # noqa: ANN401
            given = dict.fromkeys(names, context)
            if spread:
                return await function(**job.__dict__, **given)
            return await function(job, **given)

        return awaited if is_async(function) else plain

    def _awaited(
        self, graph: DependencyGraph, provided: Provided, contexts: tuple[str, ...]
    ) -> "Handler":
        """Dependencies are resolved in the loop; of a plain function, only it runs in a thread."""
        run, ready = self._run, provided.cache()
        if not is_async(self.function):
            run = self._run_in_thread

        async def call(job: Job, context: TaskContext) -> Any:  # noqa: ANN401
            async with graph.async_ctx({**ready, TaskContext: context}) as resolving:
                found = await resolving.resolve_kwargs()
                returned = await run(job, {**found, **dict.fromkeys(contexts, context)})
                return await result_of(returned)

        return call

    def _plain(
        self, graph: DependencyGraph, provided: Provided, contexts: tuple[str, ...]
    ) -> "Handler":
        """A plain function whose dependencies are plain too: all of it runs in the thread.

        Where it returns what is to be awaited, its dependencies stay open until that has ended.
        """
        ready = provided.cache()

        def call(job: Job, context: TaskContext) -> Any:  # noqa: ANN401
            with ExitStack() as stack:
                resolving = stack.enter_context(graph.sync_ctx({**ready, TaskContext: context}))
                found = resolving.resolve_kwargs()
                returned = self._run(job, {**found, **dict.fromkeys(contexts, context)})
                if inspect.isawaitable(returned):
                    return _awaited_within(stack.pop_all(), returned)
                return returned

        return call

    def _run_in_thread(self, job: Job, given: dict[str, Any]) -> Any:  # noqa: ANN401
        from duly.engine.worker import threads  # only workers get here

        return threads.run(self._run, job, given)

    def _run(self, job: Job, given: dict[str, Any]) -> Any:  # noqa: ANN401
        if self.spread:
            return self.function(**job.__dict__, **given)
        return self.function(job, **given)


async def _awaited_within(stack: ExitStack, returned: Awaitable[Any]) -> Any:  # noqa: ANN401
    with stack:
        return await result_of(returned)


def dependencies_of(graph: DependencyGraph) -> Iterator[Any]:
    """Yield everything that a function depends on, directly or by something else."""
    for each in graph.ordered_deps:
        if each.dependency is not graph.target:
            yield each.dependency
    for each, inner in graph.subgraphs.items():
        yield each.dependency
        yield from dependencies_of(inner)


def is_awaited(dependency: Any) -> bool:  # noqa: ANN401
    """Tell whether a dependency can only be resolved in an event loop."""
    inner = inspect.unwrap(dependency) if callable(dependency) else dependency
    return is_async(inner) or inspect.isasyncgenfunction(inner) or hasattr(dependency, "__aenter__")
