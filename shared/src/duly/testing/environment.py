"""The only reader of the environment in the testing kit."""

import os
import re


def in_ci() -> bool:
    """Return whether CI runs the tests: there, a missing server is a failure, not a skip."""
    value = os.environ.get("CI", "")  # noqa: TID251 - not a service, no settings
    return value.lower() not in {"", "0", "false", "no"}


def worker_number() -> int:
    """Return the number of the pytest-xdist worker that this process belongs to; 0 without."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")  # noqa: TID251 - likewise
    return int(re.sub(r"\D", "", name) or 0)


def inherited() -> dict[str, str]:
    """Return this process's environment without duly's own variables, for child processes."""
    variables = os.environ.items()  # noqa: TID251 - passed on, not read
    return {name: value for name, value in variables if not name.startswith("DULY_")}
