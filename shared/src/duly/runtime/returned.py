"""What a function is declared as, and what it returned where that is not its result yet.

Whether a call has to be awaited shows for certain only in what it returns: a plain function may
return a coroutine, as the ones do that a decorator wraps around a coroutine function. Whoever drops
that never runs its body.
"""

import inspect
from collections.abc import Callable
from typing import Any


def is_generator(function: Callable[..., object]) -> bool:
    """Tell whether calling a function, or an object that is called like one, runs none of it."""
    call = getattr(function, "__call__", function)  # noqa: B004 - objects whose __call__ yields
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, call)
    )


async def result_of(returned: Any) -> Any:  # noqa: ANN401 - whatever a handler returns
    """Return the result of a handler that returned this, having awaited what is to be awaited.

    Raises:
        TypeError: It is a generator, whose body nobody runs.
        BaseException: What was awaited raised it.
    """
    while inspect.isawaitable(returned):
        returned = await returned
    _refuse_generator(returned)
    return returned


def result_at_once(returned: Any) -> Any:  # noqa: ANN401 - likewise
    """Return the result of a handler where there is no event loop that could await it.

    Raises:
        TypeError: It would have to be awaited, or is a generator: the body has not run.
    """
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise TypeError(
            f"it returned a {type(returned).__name__}, which nothing awaits in a process: "
            "make it a plain function, or run it in the worker"
        )
    _refuse_generator(returned)
    return returned


def _refuse_generator(returned: object) -> None:
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise TypeError(
            f"it returned {'a' if inspect.isgenerator(returned) else 'an asynchronous'} generator, "
            "whose body does not run: a handler returns its result, it cannot yield"
        )
