"""What a declaration is made of: a function, checked, with its kind and its policy."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypedDict, get_args

from pydantic import BaseModel, ValidationError

from duly.app.calls import Declared
from duly.app.processes import InProcess
from duly.app.signatures import name_of
from duly.errors import ConfigError
from duly.job import Aggregate, Backoff, Job, Policy, Rate, is_name
from duly.runtime.returned import is_generator

Where = Literal["here", "process"]


class PolicyOptions(TypedDict, total=False):
    """The fields of a `Policy`, for `App.task`."""

    queue: str
    max_attempts: int
    timeout: timedelta
    lifetime: timedelta | None
    backoff: Literal["full_jitter", "constant", "asynq"] | Backoff
    backoff_base: timedelta
    backoff_cap: timedelta
    is_failure: Callable[[BaseException], bool] | None
    max_uncounted_failures: int
    max_running: int | None
    rate: Rate | None
    unique_for: timedelta | None
    retention: timedelta
    aggregate: Aggregate


@dataclass(frozen=True, slots=True)
class Registration:
    """What runs the tasks of one kind."""

    declared: Declared
    run_in: Where
    hard_timeout: timedelta | None
    in_process: InProcess | None
    """The handler as a child process finds it; None: it runs in the worker."""

    def check(self) -> None:
        """Return if it says something that can be done.

        Raises:
            ConfigError: It does not.
        """
        if self.run_in not in get_args(Where):
            self._refuse(f"run_in: {self.run_in!r} is no place", "known: here, process")
        if self.hard_timeout is None:
            return
        hard: object = self.hard_timeout
        if not isinstance(hard, timedelta) or hard <= timedelta(0):
            problem = f"hard_timeout: {hard!r} is no timedelta above 0"
            self._refuse(problem, "such as timedelta(seconds=5)")
        if self.run_in != "process":
            self._refuse("hard_timeout: only a process can be ended", 'say run_in="process" too')
        policy = self.declared.job.policy
        if "timeout" in policy.model_fields_set and self.hard_timeout < policy.timeout:
            problem = f"hard_timeout: {self.hard_timeout} comes before timeout, {policy.timeout}"
            self._refuse(problem, "leave one of them out")

    def _refuse(self, problem: str, remedy: str) -> NoReturn:
        raise ConfigError(f"task {name_of(self.declared.function)}", problem, remedy=remedy)

    @property
    def place(self) -> str:
        """Where it was declared: `shop/jobs.py:12`."""
        function = inspect.unwrap(self.declared.function)
        code = getattr(function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else name_of(function)


def checked_callable(function: Any) -> Any:  # noqa: ANN401
    """Return what was decorated, if it can be called."""
    if not callable(function):
        raise TypeError(f"{function!r} cannot be called: decorate a function")
    return function


def checked_handler(function: Any) -> Any:  # noqa: ANN401
    """Return what was decorated, if calling it can run a task."""
    if is_generator(checked_callable(function)):
        raise TypeError(f"{name_of(function)}: a task returns its result, it cannot yield")
    return function


def checked_job(job: Any) -> Any:  # noqa: ANN401
    """Return what was given as a class of jobs, if it is one with a kind."""
    if not (isinstance(job, type) and issubclass(job, Job) and job.kind):
        raise TypeError(f"{job!r} is no class of jobs: derive it from Job and give it a kind")
    return job


def checked_merge(job: Any, function: Any) -> Any:  # noqa: ANN401
    """Return what merges the groups of a class of jobs, if it can be called so."""
    checked_job(job)
    try:
        inspect.signature(checked_handler(function)).bind([], "")
    except TypeError as error:
        raise TypeError(
            f"{name_of(function)}: it merges the payloads of a group, a list, and gets the "
            f"group's name: {error}"
        ) from None
    return function


def checked_model(model: Any) -> Any:  # noqa: ANN401
    """Return what was given as the model of an application's own settings, if it can be that."""
    if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"settings: {model!r} is no class of models: derive it from BaseModel")
    return model


def kind_of(function: Callable[..., Any]) -> str:
    """Return the kind that a function's name stands for.

    Raises:
        TypeError: It cannot be one.
    """
    kind = getattr(function, "__name__", "")
    if not is_name(kind):
        raise TypeError(
            f"{name_of(function)}: {kind!r} is no name of a kind; say one: @app.task(name=…)"
        )
    return kind


def policy_of(function: Callable[..., Any], options: PolicyOptions) -> Policy:
    """Return the policy of a task.

    Raises:
        ConfigError: An option is wrong.
    """
    try:
        return Policy.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place, known = ".".join(map(str, first["loc"])), ", ".join(Policy.model_fields)
        unknown = first["type"] == "extra_forbidden"
        problem = "is no option" if unknown else f"{first['input']!r}: {first['msg']}"
        raise ConfigError(
            f"task {name_of(function)}",
            f"{place} {problem}" if unknown else f"{place}: {problem}",
            remedy=f"known: {known}" if unknown else "",
        ) from None
