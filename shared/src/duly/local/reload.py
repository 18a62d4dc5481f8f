"""Notices that the source of an application has changed, for `duly up --reload`."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from duly.extras import require

_KINDS: Final = (".yaml", ".yml", ".toml")


def watched(app: str) -> tuple[Path, ...]:
    """Return the folders that hold the source of an application.

    Args:
        app: Names it, as `module:name`.
    """
    here = Path.cwd()
    package = importlib.util.find_spec(app.partition(":")[0].partition(".")[0])
    places = package.submodule_search_locations if package is not None else None
    return (here, *(Path(place) for place in places or () if not Path(place).is_relative_to(here)))


async def changes(folders: tuple[Path, ...], *, ignored: Path) -> AsyncIterator[list[Path]]:
    """Yield the files that have changed, those of a moment together, until it is cancelled.

    Python's files count, and YAML and TOML beside them; not caches,
    environments and `ignored`.

    Raises:
        MissingExtraError: The package that watches files is not installed.
    """
    require("duly up --reload", "watchfiles")
    import watchfiles

    wanted = watchfiles.PythonFilter(extra_extensions=_KINDS, ignore_paths=[ignored])
    async for found in watchfiles.awatch(*folders, watch_filter=wanted):
        yield sorted({Path(path) for _, path in found})
