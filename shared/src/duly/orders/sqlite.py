"""Opens SQLite connections, and waits for their threads before the event loop closes."""

import asyncio
import sqlite3
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite

JOIN_SECONDS = 2.0


class Connections:
    """The SQLite connections of one engine. Each has a thread that reports to the loop.

    A connection whose statement was cancelled is closed without waiting for its thread. A report
    after the loop has closed would be a traceback on standard error; `join_threads` prevents it.
    """

    def __init__(self) -> None:
        self._threads: WeakSet[Thread] = WeakSet()

    def create(self, *args: Any, **options: Any) -> aiosqlite.Connection:  # noqa: ANN401
        """Return a connection that opens when it is awaited, as SQLAlchemy expects."""
        connection = aiosqlite.connect(*args, **options)
        thread = connection._thread  # noqa: SLF001 - aiosqlite has no public way
        thread.daemon = True
        self._threads.add(thread)
        return connection

    async def join_threads(self) -> None:
        """Wait for the threads of closed connections, at most two seconds each."""
        for thread in list(self._threads):
            if thread.is_alive():
                await asyncio.to_thread(thread.join, JOIN_SECONDS)


def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    """Allow reads while another process writes, and enforce foreign keys."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # The mode is stored in the file. Only while the file is new can another process be setting
        # it, and SQLite does not wait for that: the next connection finds it set.
        if "locked" not in str(error):
            raise
    finally:
        cursor.close()


def prepare_to_read(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    """Refuse every change, and leave the file as it is."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA query_only = ON")
    finally:
        cursor.close()
