"""A function's signature, read: which parameters are its payload, and which the worker provides."""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import create_model
from pydantic.errors import PydanticUserError
from taskiq_dependencies.dependency import Dependency

from duly.job import Job, Policy
from duly.task import TaskContext

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a declared function, by who provides them."""

    payload: Mapping[str, tuple[Any, Any]]
    """Parameter → annotation and default (`...`: there is none), in their order."""
    contexts: tuple[str, ...]
    """Parameters that get the context of the task."""
    injected: frozenset[str]
    """All parameters that the worker provides, those of the context included."""


def read_signature(function: Callable[..., Any], *, after_job: bool = False) -> Signature:
    """Return what a function takes.

    Args:
        function: It, or an object that is called like one.
        after_job: Its first parameter is the job as a whole, and none of the others a field.

    Raises:
        TypeError: A parameter cannot be read: it has no annotation, or no name.
    """
    name = name_of(function)
    hints = _hints(function, name)
    payload: dict[str, tuple[Any, Any]] = {}
    contexts: list[str] = []
    injected: set[str] = set()
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters[1:] if after_job else parameters:
        if parameter.kind not in _NAMED:
            raise TypeError(
                f"{name}: the parameter {parameter} has no name of its own in a payload; "
                "declare each field as a parameter by name"
            )
        hint = hints.get(parameter.name)
        dependency = dependency_of(parameter, hint)
        is_context = _bare(hint) is TaskContext or (
            after_job and hint is None and parameter.name == "context"
        )
        if dependency is not None or is_context:
            injected.add(parameter.name)
            if is_context and (dependency is None or dependency.dependency is None):
                contexts.append(parameter.name)
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        if after_job and default is not ...:
            continue
        if hint is None:
            raise TypeError(
                f"{name}: the parameter {parameter.name!r} has no annotation; say its type, or "
                "give it a default of Depends() if the worker provides it"
            )
        payload[parameter.name] = hint, default
    return Signature(payload, tuple(contexts), frozenset(injected))


def payload_class(
    function: Callable[..., Any], signature: Signature, *, kind: str, policy: Policy
) -> type[Job]:
    """Return the class of jobs whose fields are the parameters of a function.

    Raises:
        TypeError: A parameter cannot be a field.
    """
    name = name_of(function)
    for parameter in signature.payload:
        if parameter.startswith("_") or hasattr(Job, parameter):
            raise TypeError(f"{name}: a parameter cannot be called {parameter!r}; rename it")
    fields: dict[str, Any] = dict(signature.payload)
    try:
        made = create_model(
            name.rpartition(".")[2],
            __base__=Job,
            __module__=function.__module__,
            __doc__=inspect.getdoc(function),
            __cls_kwargs__={"kind": kind, "policy": policy},
            **fields,
        )
    except PydanticUserError as error:
        first = str(error).partition("\n")[0]
        raise TypeError(f"{name}: a parameter cannot be in a payload: {first}") from None
    made.__qualname__ = f"{function.__qualname__}.payload"
    return made


def dependency_of(parameter: inspect.Parameter, hint: Any) -> Dependency | None:  # noqa: ANN401
    """Return the dependency that a parameter stands for, by default or annotation; None: none."""
    for marker in (*reversed(getattr(hint, "__metadata__", ())), parameter.default):
        if isinstance(marker, Dependency):
            return marker
        # FastAPI's marker, without its package: taskiq's graph understands it too.
        if type(marker).__module__ == "fastapi.params" and hasattr(marker, "dependency"):
            return Dependency(marker.dependency, use_cache=marker.use_cache)
    return None


def name_of(function: object) -> str:
    """Return how messages call a function: `shop.jobs.send_invoice`."""
    place = function if hasattr(function, "__qualname__") else type(function)
    return f"{place.__module__}.{place.__qualname__}"


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    call = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(call, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{name}: the annotation {error.name!r} cannot be found at run time; import it "
            "outside of `if TYPE_CHECKING`, above the function"
        ) from None


def _bare(hint: Any) -> Any:  # noqa: ANN401
    """Return an annotation without what `Annotated` adds to it."""
    return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
