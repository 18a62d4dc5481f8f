"""Keeps out of a service's process what its libraries import and no service uses.

Some libraries import an optional package because it is installed, not because anybody asked for
it. Measured on Python 3.11, as resident memory and modules loaded:

- structlog imports rich for tracebacks in colour: 6 MB, 110 modules; and greenlet: 1 MB.
- redis-py imports the metrics SDK of OpenTelemetry: 2 MB, 50 modules.
- taskiq imports aiohttp for the middleware of its admin panel: 7 MB, 80 modules.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

WITHOUT: Final[Mapping[str, str]] = {
    "rich": "structlog",
    "greenlet": "structlog",
    "opentelemetry": "redis",
}
"""Optional package → the library for which it counts as not installed."""
ADMIN: Final = "taskiq.middlewares.taskiq_admin_middleware"
"""The only module of taskiq that needs aiohttp, imported with the first one that anybody needs."""


def import_sparingly() -> None:
    """Keep these packages from these libraries from now on.

    Every other module gets what it imports: a handler may use all of them. What has been imported
    already stays. Call it first in the `main` of a service, before structlog and the engine are
    imported; it is idempotent. Do not call it in a process that is not a service of duly's.
    """
    if _Without not in sys.meta_path:
        sys.meta_path.insert(0, _Without)
    admin = ModuleType(ADMIN, "Left out: see duly.runtime.footprint.")
    admin.TaskiqAdminMiddleware = _LeftOut  # type: ignore[attr-defined]
    sys.modules.setdefault(ADMIN, admin)


class _LeftOut:
    """Replaces `TaskiqAdminMiddleware`, which the package of taskiq imports."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("a duly service has no TaskiqAdminMiddleware")


class _Without:
    """A finder of modules that finds none; it refuses a package to the library in `WITHOUT`."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise `ModuleNotFoundError` to that library; return None to every other."""
        del path, target
        library = WITHOUT.get(fullname)
        if library is not None and _importer() == library:
            raise ModuleNotFoundError(f"{library} has to do without {fullname}", name=fullname)
        return None


def _importer() -> str:
    """Return the top-level package whose import statement is being run."""
    frame = sys._getframe(2)  # noqa: SLF001 - documented, and there is no other way
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
