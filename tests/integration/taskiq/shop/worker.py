"""What a worker of duly's runs: `--app shop.worker:broker`. It imports the tasks."""

from shop import mail, orders  # noqa: F401
from shop.broker import broker  # noqa: F401
