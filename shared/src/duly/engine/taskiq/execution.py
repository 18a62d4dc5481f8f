"""Runs taskiq tasks as taskiq's own receiver does: dependencies, middlewares, results.

What the receiver does not do: a cancellation is passed on instead of becoming a result, whatever a
middleware raises is the end of the attempt instead of leaving it open, and a plain function keeps
its slot for as long as its thread runs.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import structlog
from taskiq import Context, TaskiqMessage, TaskiqMiddleware, TaskiqResult, TaskiqState
from taskiq.decor import AsyncTaskiqDecoratedTask
from taskiq.exceptions import NoResultError, TaskRejectedError
from taskiq.receiver.params_parser import parse_params
from taskiq.utils import maybe_awaitable
from taskiq_dependencies import DependencyGraph

from duly.clock import to_ms
from duly.engine.middleware.barrier import log_failure
from duly.engine.storage.codec import Message, whole
from duly.engine.storage.limits import limit_of
from duly.engine.taskiq.calls import Call, running
from duly.engine.taskiq.labels import policy_of, wish_of_task
from duly.engine.worker import threads
from duly.engine.worker.server import Server
from duly.engine.worker.taskiq_broker import Handler, HandlerSpec
from duly.errors import OutcomeSignal
from duly.job import Job, Policy
from duly.runtime.returned import result_of
from duly.task import TaskContext

if TYPE_CHECKING:
    from duly.engine.taskiq.broker import DulyBroker

ONCE = Policy(max_attempts=1)
"""What holds where nothing is said: as in taskiq, a task that fails is not tried again."""
_WISHES = (NoResultError, TaskRejectedError, OutcomeSignal)
"""What a function raises to say what is to become of its task, also when it was cancelled."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one task is called, worked out once."""

    function: Callable[..., Any]
    signature: inspect.Signature
    hints: dict[str, Any]
    graph: DependencyGraph
    is_async: bool
    policy: Policy
    retention_ms: int

    @classmethod
    def of(cls, task: AsyncTaskiqDecoratedTask[Any, Any], broker: "DulyBroker") -> "Plan":
        """Work it out.

        Raises:
            InvalidOptionError: A label of the decorator asks for what cannot be done.
            NameError: An annotation names nothing.
            ValueError: A dependency cannot be resolved.
        """
        function, policy = task.original_func, policy_of(task, broker.policy) or ONCE
        retention = wish_of_task(task).retention
        if retention is None and "retention" not in policy.model_fields_set:
            retention = broker.retention
        return cls(
            function,
            inspect.signature(function),
            get_type_hints(function),
            DependencyGraph(function),
            inspect.iscoroutinefunction(function),
            policy,
            to_ms(policy.retention if retention is None else retention),
        )


class Execution:
    """Runs the tasks of a taskiq broker.

    Args:
        broker: Has the tasks, middlewares, dependencies and the result backend.
        propagates: Whether dependencies are told of the error of their task.
        validates: Whether arguments are converted to what the annotations say.
    """

    def __init__(
        self,
        broker: "DulyBroker",
        *,
        propagates: bool = True,
        validates: bool = True,
    ) -> None:
        self._broker = broker
        self._propagates, self._validates = propagates, validates
        self._plans: dict[str, Plan] = {}
        self._log = structlog.get_logger("duly.engine")

    def register(self, server: Server, handler: Handler | None = None) -> None:
        """Make a server run the tasks of the broker. Raises as `Plan.of`.

        Args:
            server: The server.
            handler: What it calls for each; None: `run`.
        """
        for task in self._broker.get_all_tasks().values():
            server.jobs.handlers[task.task_name] = self._spec(task, handler or self.run)

    def uses(self, dependency: object) -> bool:
        """Tell whether a task depends on something."""
        graphs = [plan.graph for plan in self._plans.values()]
        return any(it.dependency is dependency for graph in graphs for it in graph.ordered_deps)

    def _spec(self, task: AsyncTaskiqDecoratedTask[Any, Any], handler: Handler) -> HandlerSpec:
        plan = self._plans[task.task_name] = Plan.of(task, self._broker)
        wish, policy = wish_of_task(task), policy_of(task, self._broker.policy)
        timeout = wish.timeout or (policy.timeout if policy else None)
        return HandlerSpec(
            job=None,
            # A call has the policy of a job, which is all that the engine asks of one.
            read=cast("Callable[[Message], Job]", self._read),
            handler=handler,
            is_async=True,
            max_attempts=wish.max_attempts or plan.policy.max_attempts,
            timeout_ms=to_ms(timeout) if timeout else 0,
            retention_ms=plan.retention_ms,
            limit=limit_of(plan.policy),
        )

    def _read(self, message: Message) -> Call:
        """Return the call that a message is.

        Raises:
            MalformedTaskError: It is none.
        """
        plan = self._plans[message.task_name]
        keeps = whole(message.labels, "retention_ms", plan.retention_ms) > 0
        return Call(message, plan.policy, keeps=keeps)

    async def run(self, call: Call, context: TaskContext) -> Any:  # noqa: ANN401 - the task's
        """Run a call; return its result where the engine keeps it.

        Raises:
            BaseException: What ended the attempt; the engine decides what becomes of the task.
        """
        with running(call, context):
            message = call.message
            for middleware in self._having("pre_execute"):
                message = await maybe_awaitable(middleware.pre_execute(message))
            call.message = message
            result = await self._executed(call, context)
            error = result.error
            if error is not None:
                for middleware in reversed(list(self._having("on_error"))):
                    await maybe_awaitable(middleware.on_error(message, result, error))
                if call.will_run_again(error):
                    result.error = NoResultError()
            for middleware in reversed(list(self._having("post_execute"))):
                await maybe_awaitable(middleware.post_execute(message, result))
            await self._save(message, result)
            call.conclude(error)
            return call.kept

    async def _executed(self, call: Call, context: TaskContext) -> TaskiqResult[Any]:
        """Return how the function has ended.

        Raises:
            BaseException: The attempt is over for another reason than its time, and that is how
                the function has ended by it.
        """
        returned: Any = None
        error: BaseException | None = None
        started = perf_counter()
        try:
            returned = await self._called(call, self._plans[context.kind])
        except BaseException as raised:
            cancelled = isinstance(raised, asyncio.CancelledError)
            if context.timed_out:
                error = TimeoutError() if cancelled else raised
            elif cancelled or (context.cancelled and not isinstance(raised, _WISHES)):
                raise
            else:
                error = raised
        return TaskiqResult(
            is_err=error is not None,
            return_value=returned,
            execution_time=round(perf_counter() - started, 2),
            error=error,
            labels=call.message.labels,
        )

    async def _called(self, call: Call, plan: Plan) -> Any:  # noqa: ANN401 - the task's
        """Return what the function returns, having closed what it depends on."""
        message = call.message
        parse_params(plan.signature if self._validates else None, plan.hints, message)
        resolving = plan.graph.async_ctx(
            {
                **self._broker.custom_dependency_context,
                Context: Context(message, self._broker, call.controller),
                TaskContext: call.context,
                TaskiqState: self._broker.state,
            },
            self._broker.dependency_overrides or None,
        )
        told: tuple[Any, Any, Any] = (None, None, None)
        try:
            kwargs = await resolving.resolve_kwargs() | message.kwargs
            if plan.is_async:
                returned = await plan.function(*message.args, **kwargs)
            else:
                returned = await threads.run(plan.function, *message.args, **kwargs)
            return await result_of(returned)
        except BaseException as error:
            if self._propagates:
                told = type(error), error, error.__traceback__
            raise
        finally:
            await resolving.close(*told)

    def _having(self, hook: str) -> Iterator[TaskiqMiddleware]:
        """Yield the middlewares that do something at a hook."""
        empty = getattr(TaskiqMiddleware, hook)
        return (m for m in self._broker.middlewares if getattr(type(m), hook) is not empty)

    async def _save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Give the result to the backend. As in taskiq, a result that is lost fails no task."""
        if isinstance(result.error, NoResultError):
            return
        try:
            await self._broker.result_backend.set_result(message.task_id, result)
            for middleware in reversed(list(self._having("post_save"))):
                await maybe_awaitable(middleware.post_save(message, result))
        except Exception as error:  # noqa: BLE001 - backends and middlewares are foreign code
            log_failure(self._log, "Result not saved", error, task_id=message.task_id)
