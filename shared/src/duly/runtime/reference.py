"""Generates the reference of all settings from their classes."""

from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

from duly.runtime.durations import write_duration
from duly.runtime.loading import variable
from duly.runtime.outline import Key, outline
from duly.runtime.settings import DEFAULT_QUEUES, Settings

_HEADER = "| key | variable | type | default | meaning |\n|---|---|---|---|---|\n"


def settings_table(cls: type[Settings] = Settings) -> str:
    """Return a Markdown table of every key: its variable, type, default and meaning."""
    return _HEADER + "".join(_row(key) for key in outline(cls) if not key.section)


def _row(key: Key) -> str:
    name = variable(key.path)
    meaning = (key.field.description or "").replace("|", "\\|")
    default = _default(key)
    return f"| `{key.dotted}` | `{name}` | {_type(key)} | {default} | {meaning} |\n"


def _type(key: Key) -> str:
    kind = key.kind
    if get_origin(kind) is Literal:
        return " \\| ".join(str(choice) for choice in get_args(kind))
    if key.secret:
        return "secret"
    if key.several:
        return "list"
    return {
        int: "whole number",
        float: "number",
        bool: "true \\| false",
        timedelta: "duration",
    }.get(kind, "text")


def _default(key: Key) -> str:
    value = key.field.default
    if key.path[0] == "queues" and key.path[-1] == "concurrency":
        each = ", ".join(f"{name} {queue.concurrency}" for name, queue in DEFAULT_QUEUES.items())
        return f"{each}; others {value}"
    if key.field.default_factory is not None or key.field.is_required():
        return ""
    if value is None or value in ("", ()):
        return ""
    return f"`{_written(value)}`"


def _written(value: Any) -> str:  # noqa: ANN401 - any default
    if isinstance(value, timedelta):
        return write_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    reveal = getattr(value, "get_secret_value", None)
    return str(reveal() if reveal else value)
