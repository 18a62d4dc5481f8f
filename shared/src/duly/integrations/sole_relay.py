"""One relay at a time on a SQLite file, where rows cannot be locked.

Two relays that read the same rows would enqueue them twice, the second time perhaps after the task
has ended. The kernel releases the lock however its process ends.
"""

import fcntl
import os

from sqlalchemy import Engine

_NOT_A_FILE = ("", ":memory:")


class SoleRelay:
    """The right to relay a table of a SQLite file; of another database everybody has it.

    Args:
        engine: Of the database.
        table: The name of the table.
    """

    def __init__(self, engine: Engine, table: str) -> None:
        file = engine.url.database or ""
        is_file = engine.dialect.name == "sqlite" and file not in _NOT_A_FILE
        # A name within a URI of SQLite's own ("file:…?mode=…") is not worth a parser.
        self._path = f"{file}-{table}.lock" if is_file and not file.startswith("file:") else None
        self._descriptor: int | None = None

    def held(self) -> bool:
        """Tell whether this relay has the right, which it takes if nobody else has it.

        Raises:
            OSError: The lock's file, beside the database, cannot be opened.
        """
        if self._path is None or self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another relay have it. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
