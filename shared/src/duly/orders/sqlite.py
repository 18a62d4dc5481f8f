"""Opens SQLite connections, and sees their threads off before the event loop goes."""

import asyncio
import sqlite3
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite

FAREWELL_SECONDS = 2.0


class Connections:
    """The SQLite connections of one engine. Each has a thread that answers to the loop.

    A connection whose statement was cancelled is closed without waiting for its thread. An answer
    that comes after the loop's end would be a traceback on standard error, so `farewell` waits.
    """

    def __init__(self) -> None:
        self._threads: WeakSet[Thread] = WeakSet()

    def create(self, *args: Any, **options: Any) -> aiosqlite.Connection:  # noqa: ANN401
        """Return a connection that is opened when it is awaited, as SQLAlchemy asks for it."""
        connection = aiosqlite.connect(*args, **options)
        thread = connection._thread  # noqa: SLF001 - there is no other way to it
        thread.daemon = True
        self._threads.add(thread)
        return connection

    async def farewell(self) -> None:
        """Wait for the threads of closed connections, two seconds each at the most."""
        for thread in list(self._threads):
            if thread.is_alive():
                await asyncio.to_thread(thread.join, FAREWELL_SECONDS)


def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    """Let readers go on while another process writes, and keep the foreign keys."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # The mode stays with the file. Only at its birth can another process be about to set it,
        # and for this SQLite does not wait: the next connection finds it set.
        if "locked" not in str(error):
            raise
    finally:
        cursor.close()
