"""A connection that has subscribed to channels."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import hiredis
from typing_extensions import override

from duly.engine.transport.errors import TransportError
from duly.engine.transport.protocol import NOTHING, Endpoint, Wire, connect

OnMessage = Callable[[str, str], None]
"""Is given the channel and the message."""


class _Parser(hiredis.Reader):
    """Hands out messages as they come; what is left are replies."""

    on_message: OnMessage

    @override
    def gets(self, *args: Any) -> Any:
        while True:
            reply = super().gets(*args)
            if not (isinstance(reply, list) and reply[:1] == [b"message"]):
                return reply
            self.on_message(*(part.decode(errors="replace") for part in reply[1:]))


class Subscriber(Wire):
    """A wire on which messages arrive between the replies."""

    def __init__(self, timeout: float, on_message: OnMessage) -> None:
        super().__init__(timeout)
        parser = _Parser(notEnoughData=NOTHING)
        parser.on_message = on_message
        self._parser = parser
        self._broken = asyncio.Event()

    async def listen(self, ping_every: float) -> None:
        """Listen until the connection breaks; a PING now and then detects a server that hangs.

        Args:
            ping_every: Seconds between two of them.

        Raises:
            UnavailableError: The connection broke, or a PING was not answered.
        """
        while True:
            await self.call(("PING",))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ping_every):
                    await self._broken.wait()

    @override
    def _break(self, error: TransportError) -> None:
        super()._break(error)
        self._broken.set()


async def subscribe(
    endpoint: Endpoint,
    channels: Iterable[str],
    on_message: OnMessage,
    timeout: float,  # noqa: ASYNC109 - the wire's, for replies
) -> Subscriber:
    """Return a connection that has subscribed; the caller closes it.

    Raises:
        UnavailableError: No connection.
        NoPermissionError: The user may not listen to one of the channels.
    """
    made = partial(Subscriber, on_message=on_message)
    wire = cast("Subscriber", await connect(endpoint, timeout, made))
    try:
        for channel in channels:
            await wire.call(("SUBSCRIBE", channel))
    except BaseException:
        wire.close()
        raise
    return wire
