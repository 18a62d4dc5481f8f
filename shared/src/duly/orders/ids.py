"""Ids of orders as JSON holds them: a shop's ids have any type that its database sorts."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from duly.orders.page import OrderId

Written = tuple[str, str]
"""The name of a type, and the value as a text."""
_TYPES: Final[dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]]] = {
    "int": (int, str, int),
    "text": (str, str, str),
    "uuid": (UUID, str, UUID),
    "decimal": (Decimal, str, Decimal),
    "float": (float, repr, float),
    "instant": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
}


def write_id(order_id: OrderId) -> Written:
    """Return an id as texts.

    Raises:
        TypeError: Ids of its type cannot be written.
    """
    for name, (kind, write, _) in _TYPES.items():
        if type(order_id) is kind:
            return name, write(order_id)
    raise TypeError(f"ids of the type {type(order_id).__name__} cannot travel in a task")


def read_id(written: Written) -> OrderId:
    """Return what `write_id` was given.

    Raises:
        ValueError: It was not written by it.
    """
    name, text = written
    if name not in _TYPES:
        raise ValueError(f"{name!r} is not a type of ids")
    return _TYPES[name][2](text)
