"""The application: what a team declares in one object. It opens nothing and reads no settings."""

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from pydantic import BaseModel
from typing_extensions import Unpack, override

from duly.app.calls import Declared
from duly.app.clients import AppClients
from duly.app.functions import Options, TaskFunction
from duly.app.processes import InProcess, check_in_process
from duly.app.registration import (
    PolicyOptions,
    Registration,
    Where,
    checked_callable,
    checked_handler,
    checked_job,
    checked_merge,
    checked_model,
    kind_of,
    policy_of,
)
from duly.app.signatures import name_of, payload_class, read_signature
from duly.errors import ConfigError
from duly.job import NAME_PATTERN, Job, is_name
from duly.schedule import CatchUp, Entry, Overlap
from duly.task import Task

if TYPE_CHECKING:
    from duly.engine.enqueue.blocking_client import BlockingClient
    from duly.engine.enqueue.client import Client
    from duly.engine.middleware import Ended, Middleware
    from duly.engine.storage.reports import DeadLetter
    from duly.engine.taskiq.broker import DulyBroker
    from duly.runtime.settings import QueueSettings, RedisSettings

P = ParamSpec("P")
R = TypeVar("R")
J = TypeVar("J", bound=Job)
M = TypeVar("M", bound=Callable[[list[Any], str], Job | Awaitable[Job]])
T = TypeVar("T", bound=Callable[..., Iterable[Entry] | Awaitable[Iterable[Entry]]])
L = TypeVar("L", bound=Callable[..., AsyncIterator[Any] | Iterator[Any]])


class App:
    """An application: its tasks, schedules, resources and settings.

    Several may live in one process; nothing that one declares reaches another.

    >>> app = App("shop")
    >>> send_invoice = app.task(queue="low")(send)  # doctest: +SKIP

    Args:
        name: What the monitor and the catalogue call it: 1 to 64 of a-z, 0-9, `_`, `.`, `-`.
        settings: The model of the section `settings` of the configuration, which is the
            application's own; None: it has none.

    Raises:
        ConfigError: The name is not one.
        TypeError: `settings` is no class of models.
    """

    def __init__(self, name: str, *, settings: type[BaseModel] | None = None) -> None:
        if not is_name(name):
            raise ConfigError("app", f"{name!r} is no name", remedy=f"use {NAME_PATTERN}")
        self.name, self.settings_model = name, checked_model(settings)
        self.dependency_overrides: dict[Any, Any] = {}
        """Dependency → what is called in its place: for tests."""
        self.registrations: dict[str, Registration] = {}
        """Kind → what runs it."""
        self.lifespans: list[Callable[..., Any]] = []
        """What workers open, in this order."""
        self.middlewares: list[Middleware] = []
        """What wraps every attempt, the first outermost."""
        self.mergers: dict[type[Job], Callable[..., Any]] = {}
        """Class of jobs → what merges their groups."""
        self.taskiq: DulyBroker | None = None
        """Whose tasks are run too: `app` has named a taskiq broker instead of an application."""
        self.fixed_entries: list[Entry] = []
        self.timetables: list[Callable[..., Any]] = []
        self.entry_providers: list[Callable[..., Any]] = []
        self.clients = AppClients(name)
        """The clients by which its tasks are enqueued."""

    @property
    def kinds(self) -> Mapping[str, type[Job]]:
        """Kind → class of its jobs, for all kinds that have a handler here."""
        return {kind: it.declared.job for kind, it in self.registrations.items()}

    @overload
    def task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...

    @overload
    def task(
        self,
        *,
        name: str | None = None,
        run_in: Where = "here",
        hard_timeout: timedelta | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...

    def task(  # type: ignore[misc]  # mypy: it does accept them
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        name: str | None = None,
        run_in: Where = "here",
        hard_timeout: timedelta | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> TaskFunction[P, R] | Callable[[Callable[P, R]], TaskFunction[P, R]]:
        """Declare a function as a task.

        Its parameters are the payload, except those that the worker provides: dependencies
        (`Depends()`) and the `TaskContext`. A coroutine function runs in the worker's loop, a plain
        one in a thread.

        Args:
            function: What runs the task; None: the decorator is called with arguments.
            name: The kind, stable for as long as tasks of it exist; None: the function's name.
            run_in: "process": a plain function, in a process of its own, which can be ended.
            hard_timeout: When that process is ended; None: five seconds after the timeout.
            policy: How its tasks are run: the fields of `Policy`.

        Raises:
            ConfigError: The kind is declared twice, its policy is wrong, `run_in` is no place, or
                `hard_timeout` is given without a process, or is less than the `timeout` given.
            TypeError: The function cannot be a task: a parameter has no type, for example.
        """

        def declare(function: Callable[P, R]) -> TaskFunction[P, R]:
            signature = read_signature(checked_handler(function))
            kind = kind_of(function) if name is None else name
            payload = payload_class(
                function, signature, kind=kind, policy=policy_of(function, policy)
            )
            task = TaskFunction(function, signature, payload, self.clients)
            if run_in == "process":
                task.in_process = InProcess(task.declared, self)
            self._register(task.declared, run_in, hard_timeout, task.in_process)
            return task

        return declare if function is None else declare(function)

    def handler(
        self, job: type[J], *, run_in: Where = "here", hard_timeout: timedelta | None = None
    ) -> Callable[[Callable[Concatenate[J, P], R]], Callable[Concatenate[J, P], R]]:
        """Declare what runs the tasks of a class of jobs.

        The function, or the object that is called like one, gets the job as its first argument;
        dependencies and the `TaskContext` as of `task`.

        Args:
            job: The class of jobs.
            run_in: As of `task`.
            hard_timeout: As of `task`.

        Raises:
            ConfigError: The kind is declared twice; `run_in` and `hard_timeout` as of `task`.
            TypeError: `job` is no class of jobs; the function takes something that nobody provides,
                or yields.
        """

        def declare(function: Callable[Concatenate[J, P], R]) -> Callable[Concatenate[J, P], R]:
            if others := read_signature(checked_handler(function), after_job=True).payload:
                raise TypeError(
                    f"{name_of(function)}: a handler takes the job, and what the worker provides; "
                    f"this one takes {', '.join(others)}: give it a default of Depends(), or use "
                    "App.task"
                )
            declared = Declared(function, checked_job(job), spread=False)
            in_process = None
            if run_in == "process":
                in_process = InProcess(declared, self)
                function.in_process = in_process  # type: ignore[attr-defined]
            self._register(declared, run_in, hard_timeout, in_process)
            return function

        return declare

    def schedule(
        self,
        id: str,  # noqa: A002 - as of Entry
        job: Job,
        *,
        every: timedelta | None = None,
        cron: str | None = None,
        timezone: str = "UTC",
        queue: str | None = None,
        overlap: Overlap = Overlap.SKIP,
        catch_up: CatchUp = CatchUp.SKIP,
        catch_up_limit: int = 100,
        paused: bool = False,
    ) -> Entry:
        """Have a job enqueued by the clock; return the entry of the timetable.

        Args:
            id: Keep it stable: claims and history are kept under it.
            job: What is enqueued.
            every: The time between two ticks, in whole seconds; or say `cron`.
            cron: Minute, hour, day of month, month, weekday; or @hourly, @daily, @weekly, …
            timezone: IANA name of the zone that `cron` is read in.
            queue: None: the queue of the job's policy.
            overlap: What a tick does while the task of an earlier one has not ended.
            catch_up: What happens to slots that no scheduler claimed in time.
            catch_up_limit: Slots that `CatchUp.ALL` makes up for at once, at most 500.
            paused: Its ticks enqueue nothing.

        Raises:
            ConfigError: It can never be due, or there is an entry with this id.
        """
        entry = Entry(
            id=id,
            job=job,
            interval=every,
            cron=cron,
            timezone=timezone,
            queue=queue,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_limit=catch_up_limit,
            paused=paused,
        )
        entry.check()
        if any(each.id == id for each in self.fixed_entries):
            raise ConfigError(
                f"timetable entry {id}", "is defined twice", remedy="give each entry its own id"
            )
        self.fixed_entries.append(entry)
        return entry

    def timetable(self, function: T) -> T:
        """Declare a function that returns entries, read once when a scheduler starts.

        For entries that depend on settings: its parameters are dependencies.
        """
        self.timetables.append(checked_callable(function))
        return function

    def entry_provider(self, function: T) -> T:
        """Declare a coroutine function that returns entries, from a database for example.

        Schedulers call it every `scheduler.entries_interval`. If it raises, the entries that it
        returned last stay. Its parameters are dependencies.
        """
        self.entry_providers.append(checked_callable(function))
        return function

    def lifespan(self, function: L) -> L:
        """Declare what a worker opens when it starts, and closes after its last task.

        The function yields once; a task gets what it yields by `Depends(function)`. Its own
        parameters are dependencies, lifespans that were declared before it included.

        Raises:
            TypeError: It is no generator function, nor an asynchronous one; or a task that was
                declared before it runs in a process and depends on it.
        """
        inner = inspect.unwrap(checked_callable(function))
        if not (inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)):
            raise TypeError(f"{name_of(function)}: a lifespan yields once, what tasks are to get")
        self.lifespans.append(function)
        for made in self.registrations.values():
            if made.in_process is not None:
                check_in_process(made.declared, self.lifespans)
        return function

    def merge(self, job: type[Job] | TaskFunction[..., Any]) -> Callable[[M], M]:
        """Declare what merges the groups of a class of jobs, or of a task.

        Args:
            job: The kind of the members. The function gets their payloads, oldest first, and the
                name of the group, and returns the job that takes their place.

        Raises:
            TypeError: It is no class of jobs, or the function does not take these two.
        """
        members = job.payload if isinstance(job, TaskFunction) else job

        def declare(function: M) -> M:
            self.mergers[members] = checked_merge(members, function)
            return function

        return declare

    def add_middleware(self, middleware: "Middleware") -> None:
        """Put a middleware around every attempt, inside those that were added before.

        Raises:
            TypeError: It is no object of a `Middleware`, or a hook of it would have to be awaited.
        """
        from duly.engine.middleware import check_hooks

        check_hooks(middleware)
        self.middlewares.append(middleware)

    def on_failure(self, function: "Callable[[Ended], None]") -> "Callable[[Ended], None]":
        """Declare what is told of each attempt that failed.

        Args:
            function: Called with the end of the attempt. It must not wait.

        Raises:
            TypeError: It would have to be awaited.
        """
        from duly.app.hooks import OnFailure

        self.middlewares.append(OnFailure(function))
        return function

    def on_dead_letter(
        self, function: "Callable[[DeadLetter], None]"
    ) -> "Callable[[DeadLetter], None]":
        """Declare what is told of each task that is given up.

        Args:
            function: Called with the task and why. It must not wait.

        Raises:
            TypeError: It would have to be awaited.
        """
        from duly.app.hooks import OnDeadLetter

        self.middlewares.append(OnDeadLetter(function))
        return function

    def connect(
        self,
        redis: "RedisSettings | str | None" = None,
        queues: "Mapping[str, QueueSettings] | None" = None,
    ) -> "AbstractAsyncContextManager[Client]":
        """Connect the application for the body of an `async with`: then tasks can be enqueued.

        Args:
            redis: The broker, or its URL; None: as the configuration says (`duly.yaml`,
                `DULY_…`), which is read now; if it names none, that of the `duly up` which runs
                in this directory.
            queues: The queues that are served; None: as the configuration says, or for a URL those
                that the broker knows (see `Client.connect`).

        Raises:
            ConfigError: The configuration is wrong.
        """
        return self.clients.connect(redis, queues)

    def connect_blocking(
        self,
        redis: "RedisSettings | str | None" = None,
        queues: "Mapping[str, QueueSettings] | None" = None,
    ) -> "AbstractContextManager[BlockingClient]":
        """Connect the application for code without an event loop; see `connect`."""
        return self.clients.connect_blocking(redis, queues)

    async def enqueue(self, job: Job, **options: Unpack[Options]) -> Task:
        """Enqueue a job by the client of the application; see `Client.enqueue`."""
        return await self.clients.client.enqueue(job, **options)

    def enqueue_blocking(self, job: Job, **options: Unpack[Options]) -> Task:
        """Enqueue a job from code without an event loop; see `Client.enqueue`."""
        return self.clients.blocking_client.enqueue(job, **options)

    def _register(
        self,
        declared: Declared,
        run_in: Where,
        hard_timeout: timedelta | None,
        in_process: InProcess | None,
    ) -> None:
        made = Registration(declared, run_in, hard_timeout, in_process)
        made.check()
        if in_process is not None:
            check_in_process(declared, self.lifespans)
        kind = declared.job.kind
        if (before := self.registrations.get(kind)) is not None:
            raise ConfigError(
                f"app {self.name}",
                f"the kind {kind!r} is declared twice: {before.place} and {made.place}",
                remedy="give one of them another name: @app.task(name=…)",
            )
        self.registrations[kind] = made

    @override
    def __repr__(self) -> str:
        return f"<App {self.name}: {', '.join(self.registrations) or 'no tasks'}>"
