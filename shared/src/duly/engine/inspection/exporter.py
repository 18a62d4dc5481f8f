"""Of any number of schedulers, one reads the figures of the queues for the metrics.

The lease decides nothing but who reads, so that each queue is exported once. Two holders for some
seconds, after one of them was frozen, do no harm: what is older than the lease is not exported.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Self

from duly.clock import to_ms
from duly.engine.inspection.figures import Figures, read_figures
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import EXPORTER
from duly.engine.storage.store import Store
from duly.errors import BrokerError
from duly.runtime.settings import RedisSettings

LEASE: Final = timedelta(seconds=15)
"""How long after its holder's last reading the lease passes to another one."""


class Exporter:
    """Reads the figures of all queues, as long as no other exporter does.

    Args:
        store: The broker.
        lease: How long the others wait for it.
    """

    def __init__(self, store: Store, *, lease: timedelta = LEASE) -> None:
        self._store, self._lease_ms = store, to_ms(lease)
        self._name = secrets.token_hex(8)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: RedisSettings, *, lease: timedelta = LEASE
    ) -> AsyncIterator[Self]:
        """Open the connection for the body of an `async with`, and leave the lease after it."""
        async with Store.open(settings) as store:
            exporter = cls(store, lease=lease)
            try:
                yield exporter
            finally:
                await exporter.leave()

    async def read(self) -> Figures | None:
        """Renew or take the lease, and read; None: another exporter holds it.

        Raises:
            BrokerError: The broker does not answer.
        """
        return await read_figures(self._store) if await self._held() else None

    async def leave(self) -> None:
        """Let another exporter take over at once. Idempotent."""
        try:
            if await self._holder() == self._name:
                # As good as deleted, and no further right is needed.
                await self._store.connection.command("PEXPIRE", EXPORTER, 1)
        except BrokerError:
            return  # it expires

    async def _held(self) -> bool:
        command = self._store.connection.command
        if await command("SET", EXPORTER, self._name, "NX", "PX", self._lease_ms) is not None:
            return True
        if await self._holder() != self._name:
            return False
        # It may have passed to another one since: that one's lease then ends a little later.
        await command("PEXPIRE", EXPORTER, self._lease_ms)
        return True

    async def _holder(self) -> str | None:
        holder = await self._store.connection.command("GET", EXPORTER)
        return None if holder is None else texts([holder])[0]
