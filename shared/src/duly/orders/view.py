"""How a database is looked at, for sources that read one: which, with what limits, how steadily."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from duly.errors import ConfigError
from duly.orders.address import KEY
from duly.runtime.settings import DatabaseSettings, Settings

REPLICA_KEY: Final = "orders.replica_url"
SHARE_OF_PERIOD: Final = 0.8
"""A statement may take this share of the period of the check: then it has failed before the next
one is due."""
MARGIN: Final = 1.1
"""The database ends a statement at its limit, and says so; a silent one is left after this many
limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where and how pending orders are read."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    key: str = KEY
    """The setting that holds its address."""
    consistent: bool = False
    """Whether a sweep reads one snapshot; without, each page is a transaction of its own."""

    @property
    def replica(self) -> bool:
        """Whether it is a replica, whose lag is of interest."""
        return self.key == REPLICA_KEY

    @property
    def silence(self) -> timedelta:
        """How long a statement may go without any answer."""
        return self.database.statement_timeout * MARGIN


def view_of(settings: Settings) -> View:
    """Return how the settings of a worker want the orders database to be read."""
    orders = settings.orders
    limit = min(settings.database.statement_timeout, settings.scheduler.interval * SHARE_OF_PERIOD)
    database = settings.database.model_copy(update={"statement_timeout": limit})
    view = View(database=database, consistent=orders.consistent)
    url, file = orders.replica_url, orders.replica_url_file
    if url is None and file is None:
        return view
    if url is not None and file is not None:
        problem, remedy = "is given, and so is a file with it", f"leave out {REPLICA_KEY}"
        raise ConfigError(REPLICA_KEY, problem, remedy=remedy)
    if url is not None and not url.get_secret_value():
        raise ConfigError(REPLICA_KEY, "is empty", remedy="name a database, or leave it out")
    # The file comes before an address, so that nothing but what is named here can be read.
    replica = database.model_copy(update={"url": url or database.url, "url_file": file})
    return replace(view, database=replica, key=REPLICA_KEY)
