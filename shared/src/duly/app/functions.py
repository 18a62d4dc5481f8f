"""A task that is declared as a function: its parameters are the payload."""

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar

from pydantic import ValidationError
from typing_extensions import Unpack, override

from duly.app.calls import Declared
from duly.app.processes import InProcess
from duly.app.signatures import Signature, name_of
from duly.errors import InvalidPayloadError
from duly.flow import Step, step
from duly.job import Job, Policy
from duly.task import Task

if TYPE_CHECKING:
    from duly.engine.enqueue.blocking_client import BlockingClient
    from duly.engine.enqueue.client import Client

P = ParamSpec("P")
R = TypeVar("R")


class Options(TypedDict, total=False):
    """The options of a call that enqueues, as `Client.enqueue` describes them."""

    queue: str | None
    task_id: str | None
    delay: timedelta | None
    due: datetime | None
    max_attempts: int | None
    timeout: timedelta | None
    deadline: datetime | None
    unique_for: timedelta | None
    retention: timedelta | None
    headers: Mapping[str, str] | None
    group: str | None


class Clients(Protocol):
    """Where a task finds the clients of its application."""

    @property
    def client(self) -> "Client":
        """The client of this loop."""

    @property
    def blocking_client(self) -> "BlockingClient":
        """The client of code without a loop."""


class TaskFunction(Generic[P, R]):
    """A function that is a task. Made by `App.task`.

    Calling it runs it here and now, as if it were not decorated: that is what unit tests do.
    """

    def __init__(
        self,
        function: Callable[P, R],
        signature: Signature,
        payload: type[Job],
        clients: Clients,
    ) -> None:
        functools.update_wrapper(self, function)
        self.payload = payload
        """The class of its jobs: a field for each parameter that the caller gives."""
        self.declared = Declared(function, payload, spread=True)
        self.in_process: InProcess | None = None
        """What a child process runs; None: the worker itself runs it."""
        self._function, self._signature, self._clients = function, signature, clients
        self._name = name_of(function).rpartition(".")[2]

    @property
    def kind(self) -> str:
        """The stable name of the task, which every message of it bears."""
        return self.payload.kind

    @property
    def policy(self) -> Policy:
        """How its tasks are run."""
        return self.payload.policy

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, with its dependencies as arguments."""
        return self._function(*args, **kwargs)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Return the job of a call: for `App.schedule`, `chain`, `group` and `enqueue_many`.

        Args:
            args: The arguments of the function, without what the worker provides.
            kwargs: Likewise, by name.

        Raises:
            TypeError: A parameter is missing, unknown, or provided by the worker.
            InvalidPayloadError: A value does not fit its annotation; its parameter is named.
        """
        if args:
            kwargs = self._named(args, kwargs)  # type: ignore[assignment]
        try:
            return self.payload(**kwargs)
        except ValidationError as error:
            raise self._refused(error) from None

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Enqueue a call of the function, and return the task that it became.

        The application must be connected: `async with app.connect():`. A worker is.

        Args:
            args: As of `job`.
            kwargs: As of `job`.

        Raises:
            TypeError: As of `job`.
            EnqueueError: As of `Client.enqueue`.
            BrokerDownError: The broker did not answer within its timeout.
        """
        return await self.options().enqueue(*args, **kwargs)

    def enqueue_blocking(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Enqueue a call of the function from code without an event loop.

        The application must be connected: `with app.connect_blocking():`. A worker is.

        Args:
            args: As of `job`.
            kwargs: As of `job`.

        Raises:
            TypeError: As of `job`.
            EnqueueError: As of `Client.enqueue`.
            BrokerDownError: The broker did not answer within its timeout.
        """
        return self.options().enqueue_blocking(*args, **kwargs)

    def options(self, **options: Unpack[Options]) -> "TaskCall[P]":
        """Return the task with options for one call.

        >>> await send_invoice.options(delay=timedelta(minutes=5)).enqueue(7)  # doctest: +SKIP

        Args:
            options: As of `Client.enqueue`.
        """
        return TaskCall(self.job, self._clients, options)

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments by name."""
        names = list(self._signature.payload)
        if len(args) > len(names):
            raise TypeError(f"{self._name}() takes {len(names)} arguments: {_listed(names)}")
        named = dict(zip(names, args, strict=False))
        for name in named.keys() & kwargs.keys():
            raise TypeError(f"{self._name}() got two values for {name!r}")
        return {**named, **kwargs}

    def _refused(self, error: ValidationError) -> Exception:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        takes = _listed(self._signature.payload)
        if first["type"] == "extra_forbidden":
            if place in self._signature.injected:
                return TypeError(f"{self._name}(): the worker provides {place!r}; leave it out")
            return TypeError(f"{self._name}() takes no {place!r}; it takes: {takes}")
        if first["type"] == "missing" and len(first["loc"]) == 1:
            return TypeError(f"{self._name}() needs {place!r}; it takes: {takes}")
        return InvalidPayloadError(self.kind, place, f"does not fit ({first['msg']})")

    @override
    def __repr__(self) -> str:
        return f"<task {self.kind} of {name_of(self._function)}>"


class TaskCall(Generic[P]):
    """A task with the options of one call. Made by `TaskFunction.options`."""

    def __init__(self, job: Callable[P, Job], clients: Clients, options: Options) -> None:
        self._job, self._clients, self._options = job, clients, options

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Enqueue a call with these options; see `TaskFunction.enqueue`."""
        job = self._job(*args, **kwargs)
        return await self._clients.client.enqueue(job, **self._options)

    def enqueue_blocking(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Enqueue a call with these options; see `TaskFunction.enqueue_blocking`."""
        job = self._job(*args, **kwargs)
        return self._clients.blocking_client.enqueue(job, **self._options)

    def step(self, *args: P.args, **kwargs: P.kwargs) -> Step:
        """Return a call with these options, for `chain` and `group`."""
        return step(self._job(*args, **kwargs), **self._options)


def _listed(names: Mapping[str, object] | list[str]) -> str:
    found: Iterator[str] = iter(names)
    return ", ".join(found) or "nothing"
