"""Where the broker is: at the address given, or wherever the sentinels say its master is."""

from collections.abc import Callable

from typing_extensions import override

from duly.engine.transport.address import address_of
from duly.engine.transport.protocol import Endpoint
from duly.engine.transport.sentinel import Sentinels
from duly.runtime.settings import RedisSettings


class Endpoints:
    """Finds the servers of one broker.

    Args:
        settings: The broker.
        on_moved: Called when the sentinels have made another server the master, or are about to.

    Attributes:
        address: How the broker is reached.

    Raises:
        ConfigError: The address, a sentinel or a certificate cannot be used.
    """

    def __init__(
        self, settings: RedisSettings, on_moved: Callable[[], None] = lambda: None
    ) -> None:
        self.address = address_of(settings)
        self._sentinels: Sentinels | None = None
        self._shown = str(self.address)
        if settings.sentinel.master:
            self._sentinels = Sentinels(settings.sentinel, self.address, on_moved)
            nodes = ", ".join(settings.sentinel.nodes)
            self._shown = f"sentinel {settings.sentinel.master} of {nodes}"

    @override
    def __str__(self) -> str:
        """Return where the broker is, fit for a log: no user, no password."""
        return self._shown

    async def find(self) -> Endpoint:
        """Return where the broker is now; the sentinels are asked each time.

        Raises:
            UnavailableError: No sentinel knows a master.
        """
        if self._sentinels is not None:
            return self.at(*await self._sentinels.master())
        return self.at(self.address.host, self.address.port, path=self.address.path)

    def at(self, host: str, port: int, *, path: str = "") -> Endpoint:
        """Return the endpoint of one server of the broker, such as a node of a Cluster."""
        address = self.address
        return Endpoint(
            host=host,
            port=port,
            path=path,
            family=address.family,
            username=address.username,
            password=address.present_password,
            db=address.db,
            tls=address.present_tls,
        )

    async def close(self) -> None:
        """Stop listening to the sentinels."""
        if self._sentinels is not None:
            await self._sentinels.close()
