"""The section `settings` of the configuration: the application's own, read by its model."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    WrapValidator,
    create_model,
)

from duly.runtime.durations import parse_duration
from duly.runtime.loading import load
from duly.runtime.settings import Settings

_READERS: Final = (BeforeValidator, PlainValidator, WrapValidator)
M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", bound=Settings)


def load_settings(model: type[M], config: Path | None = None) -> M:
    """Return an application's own settings, for code that no worker runs.

    A web application that enqueues reads them by this; tasks get them as a dependency.

    >>> settings = load_settings(ShopSettings)  # doctest: +SKIP

    Args:
        model: The model of the section `settings`.
        config: The YAML file; None: the file named by DULY_CONFIG, else ./duly.yaml if it exists.

    Raises:
        ConfigError: A setting is wrong, in this section or in another one.
    """
    own: M = load(with_section(Settings, model), config).settings
    return own


def with_section(cls: type[S], model: type[BaseModel]) -> type[S]:
    """Return a settings class in which a model reads the section `settings`."""
    if model.model_config.get("extra") is None:
        # A key that it does not know is a mistake there as everywhere in the configuration.
        model = create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__
        )
        model.model_config = ConfigDict(**{**model.model_config, "extra": "forbid"})
        model.model_rebuild(force=True)
    reading = Annotated[model, BeforeValidator(partial(_durations_read, model))]
    fields: dict[str, Any] = {"settings": (reading, ...)}
    return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)


def _durations_read(kind: Any, value: Any) -> Any:  # noqa: ANN401 - any type, and what is said of it
    """Return a value in which durations, written as everywhere in the configuration, are read.

    Only pydantic's own reading of a timedelta is replaced: a field whose model has a validator for
    what was written gets that.
    """
    kind = _bare(kind)
    inner = get_args(kind)
    if kind is timedelta:
        return parse_duration(value)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, dict):
        return {**value, **dict(_fields_read(kind, value))}
    if get_origin(kind) in {list, tuple, set, frozenset} and inner and isinstance(value, list):
        return [_durations_read(inner[0], each) for each in value]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _durations_read(inner[1], each) for name, each in value.items()}
    return value


def _fields_read(model: type[BaseModel], given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    own = model.__pydantic_decorators__.field_validators.values()
    validated = {name for each in own if each.info.mode != "after" for name in each.info.fields}
    for name, field in model.model_fields.items():
        if name in validated or "*" in validated:
            continue
        if any(isinstance(each, _READERS) for each in field.metadata):
            continue
        for key in {name, field.alias or name} & given.keys():
            yield key, _durations_read(field.annotation, given[key])


def _bare(kind: Any) -> Any:  # noqa: ANN401
    """Return a type without `Annotated` and `None`; of a choice of several, the choice."""
    if get_origin(kind) is Annotated:
        return (
            kind
            if any(isinstance(it, _READERS) for it in get_args(kind))
            else _bare(get_args(kind)[0])
        )
    if get_origin(kind) in {Union, UnionType}:
        others = [each for each in get_args(kind) if each is not type(None)]
        return _bare(others[0]) if len(others) == 1 else kind
    return kind
