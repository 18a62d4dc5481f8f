"""Takes steps one after the other: what the broker refuses of one keeps none of the others back."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from duly.errors import BrokerDownError, BrokerError

T = TypeVar("T")


async def take_each(steps: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Take every step, and return what each returned.

    Raises:
        BrokerDownError: At once: the others would not be answered either.
        BrokerError: The first refusal, once every other step was taken.
    """
    results, refused = list[T](), list[BrokerError]()
    for step in steps:
        try:
            results.append(await step())
        except BrokerDownError:
            raise
        except BrokerError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return results
