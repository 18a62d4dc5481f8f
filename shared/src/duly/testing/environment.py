"""The only reader of the environment in the testing kit."""

import os
import re


def in_ci() -> bool:
    """Return whether a CI system runs the tests: there, a missing server fails instead of skips."""
    value = os.environ.get("CI", "")  # noqa: TID251 - no settings class: this is no service
    return value.lower() not in {"", "0", "false", "no"}


def worker_number() -> int:
    """Return which of pytest-xdist's processes this is, or a child of; 0 without any."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")  # noqa: TID251 - likewise
    return int(re.sub(r"\D", "", name) or 0)


def inherited() -> dict[str, str]:
    """Return this process's environment without duly's own variables, for child processes."""
    variables = os.environ.items()  # noqa: TID251 - handed on, not read
    return {name: value for name, value in variables if not name.startswith("DULY_")}
