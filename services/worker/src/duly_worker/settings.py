"""What the worker reads from its configuration."""

from duly.runtime import settings


class Settings(settings.Settings):
    """The worker's configuration: the shared sections."""
