"""The configuration of a process that runs an application: the section `settings` is its own."""

from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from duly.app.declaration import App
from duly.app.loading import load_app
from duly.app.own_settings import with_section
from duly.errors import ConfigError
from duly.runtime.loading import load, name_file
from duly.runtime.settings import Settings

S = TypeVar("S", bound=Settings)


def configured(settings: S, config: Path | None = None, *, app: str | None = None) -> tuple[S, App]:
    """Return the settings of a service, and the application that it runs.

    What the application reads by itself, and in processes of its own, is the same file.

    Args:
        settings: As they were loaded, the section of the application not read yet.
        config: Where they were loaded from, as of `load`.
        app: Names the application; None: the setting `app` does.

    Raises:
        ConfigError: A setting is wrong, those of the application included, or there is no such
            application.
    """
    name_file(config)
    found = load_app(settings.app if app is None else app)
    if found.settings_model is not None:
        settings = load(with_section(type(settings), found.settings_model), config)
    _check_queues(found, settings)
    return settings, found


def _check_queues(app: App, settings: Settings) -> None:
    """Refuse an application whose tasks would wait in a queue that no worker serves."""
    for kind, job in app.kinds.items():
        queue = job.policy.queue
        if queue not in settings.queues:
            close = get_close_matches(queue, settings.queues, n=1)
            known = (
                f"did you mean {close[0]}?" if close else f"known: {', '.join(settings.queues)}."
            )
            raise ConfigError(
                f"app {app.name}",
                f"the task {kind} wants the queue {queue!r}, which is not declared",
                remedy=f"{known} Or declare it as queues.{queue}",
            )
