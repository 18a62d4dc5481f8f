"""The section `settings` of the configuration: the application's own, read by its model."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from duly.runtime.loading import load
from duly.runtime.settings import Settings

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
    fields: dict[str, Any] = {"settings": (model, ...)}
    return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)
