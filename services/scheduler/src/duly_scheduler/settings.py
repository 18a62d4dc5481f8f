"""What the scheduler reads from its configuration."""

from duly.runtime import settings


class Settings(settings.Settings):
    """The scheduler's configuration: `scheduler`, `redis`, `queues`, `metrics` and `log`."""
