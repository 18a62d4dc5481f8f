"""What a process of an application has ready for dependencies."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from duly.app.calls import Provided
from duly.runtime.settings import Settings

if TYPE_CHECKING:
    from duly.app.declaration import App


def provided(app: "App", settings: Settings, extra: Mapping[Any, Any] | None = None) -> Provided:
    """Return what dependencies find ready in a process of an application.

    Args:
        app: The application.
        settings: What the process has read; `settings.settings` is the application's own section.
        extra: Class → further values.
    """
    values: dict[Any, Any] = {
        **dict.fromkeys(type(app).__mro__[:-1], app),
        Settings: settings,
        type(settings): settings,
        # That of the worker takes its place; elsewhere nobody scrapes.
        CollectorRegistry: CollectorRegistry(),
    }
    if app.settings_model is not None:
        values[app.settings_model] = settings.settings
    return Provided({**values, **(extra or {})}, app.dependency_overrides)
