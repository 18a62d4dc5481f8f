"""The sentinels: which server is the master, and immediate notice when that changes.

A planned failover makes a replica the master seconds before the old master is demoted. Whatever
the old one accepts meanwhile is discarded, so clients must leave it as soon as the sentinels say
so: when a promotion begins, new connections wait until it has ended.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import replace

from duly.engine.transport.address import Address
from duly.engine.transport.errors import (
    NoPermissionError,
    ReplyError,
    TransportError,
    UnavailableError,
)
from duly.engine.transport.protocol import Endpoint, connect
from duly.engine.transport.slot_map import node_in
from duly.engine.transport.subscriber import subscribe
from duly.errors import ConfigError
from duly.runtime.secretfile import SecretFile, secret_of
from duly.runtime.settings import SentinelSettings

_BEGUN = "+failover-state-send-slaveof-noone"
_ABORTED = "-failover-abort-slave-timeout"
_ENDED = ("+promoted-slave", "+switch-master", _ABORTED)
_LONGEST_PROMOTION = 5.0
_POLL = 0.1
_LOOK_EVERY = 1.0
_PING_EVERY = 2.0
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LAST_PORT = 65_535
Server = tuple[str, int]


class Sentinels:
    """Asks the sentinels of one master, and listens to them once asked.

    Args:
        settings: The sentinels.
        address: How the broker is reached; encryption and timeouts hold for sentinels too.
        on_moved: Called when another server has become the master, or is about to.

    Raises:
        ConfigError: A sentinel is not host:port, or there is none.
    """

    def __init__(
        self, settings: SentinelSettings, address: Address, on_moved: Callable[[], None]
    ) -> None:
        self._name = settings.master or ""
        self._on_moved, self._address = on_moved, address
        # The sentinels are asked within half the time, so that the master can be reached in it.
        self._seconds = address.connect_timeout / 2
        path = settings.password_file
        file = SecretFile("redis.sentinel.password_file", path) if path else None
        # Read once here, so that a mistake is told at the start.
        password = secret_of("redis.sentinel.password", settings.password, file)
        self._password_file = file
        self._sentinels = [
            Endpoint(
                host=host,
                port=port,
                family=address.family,
                username=settings.username or "",
                password=password,
            )
            for host, port in _nodes(settings)
        ]
        self._master: Server | None = None
        self._epoch = 0
        self._left: Server | None = None
        self._held_until = 0.0
        self._ended = asyncio.Event()
        self._watching: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None
        import structlog  # 30 ms, with rich 150, that only a broker with sentinels costs

        self._log = structlog.get_logger("duly.engine")

    async def master(self) -> Server:
        """Return the master; where a promotion is under way, wait for its end.

        Raises:
            UnavailableError: No sentinel answers, or none knows the master.
            TransportError: What was asked is no sentinel.
        """
        if not self._watching:
            self._watching = [asyncio.ensure_future(self._watch(one)) for one in self._sentinels]
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._seconds
        epoch, found = await self._ask()
        while (found == self._left and loop.time() < self._held_until) or (
            # Those that answered have not heard of the last failover yet.
            epoch < self._epoch and loop.time() < latest
        ):
            self._ended.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._ended.wait()
            epoch, found = await self._ask()
        self._left, self._master, self._epoch = None, found, max(epoch, self._epoch)
        return found

    async def close(self) -> None:
        """Stop listening."""
        tasks = [*self._watching, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._watching, self._looking = [], None

    async def _ask(self) -> tuple[int, Server]:
        """Return (epoch, master), the latest of what a majority of the sentinels answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        failure: Exception = UnavailableError(f"no sentinel answered within {self._seconds:g} s")
        answers: list[tuple[int, Server]] = []
        asking = waiting = {asyncio.ensure_future(self._answer(one)) for one in self._sentinels}
        try:
            while waiting and len(answers) <= len(asking) // 2:
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=max(0.0, deadline - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                for answer in (one.result() for one in done):
                    if isinstance(answer, Exception):
                        failure = answer
                    else:
                        answers.append(answer)
        finally:
            for one in asking:
                one.cancel()
        if not answers:
            raise failure
        return max(answers)

    def _present(self, sentinel: Endpoint) -> Endpoint:
        """Return a sentinel with the password and the certificates that the files hold now."""
        file = self._password_file
        password = sentinel.password if file is None else file.read()
        return replace(sentinel, password=password, tls=self._address.present_tls)

    async def _answer(self, sentinel: Endpoint) -> tuple[int, Server] | Exception:
        """Return (epoch, master) as one sentinel knows them, or why it does not."""
        try:
            wire = await connect(self._present(sentinel), self._seconds)
            try:
                place = wire.call(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name))
                state = wire.call(("SENTINEL", "MASTER", self._name))
                await asyncio.wait([place, state])
                failure, told = state.exception(), place.result()
                if told is None:
                    return UnavailableError(f"no sentinel knows a master named {self._name!r}")
                flat = [] if failure else state.result()
                known = dict(zip(flat[::2], flat[1::2], strict=True))
                epoch = int(known.get(b"config-epoch", 0))
                host, port = told
                return epoch, node_in(host, port, sentinel.host)
            finally:
                wire.close()
        except (TransportError, OSError) as error:
            return error
        except (ValueError, TypeError):
            return ReplyError("it answers as no sentinel does")

    async def _watch(self, sentinel: Endpoint) -> None:
        """Listen to one sentinel, and look again whenever something may have been missed."""
        while True:
            with contextlib.suppress(TransportError, OSError):
                await self._listen(sentinel)
            await asyncio.sleep(_LOOK_EVERY)

    async def _listen(self, sentinel: Endpoint) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                present = self._present(sentinel)
                ear = await subscribe(present, (_BEGUN, *_ENDED), self._heard, self._seconds)
        except NoPermissionError:
            # Without the channels a change is noticed a second later.
            await self._look()
            return
        try:
            await self._look()
            await ear.listen(_PING_EVERY)
        finally:
            ear.close()

    async def _look(self) -> None:
        """Leave the master when the sentinels name another one."""
        with contextlib.suppress(TransportError, OSError):
            epoch, found = await self._ask()
            stands = self._master in {None, found} or epoch <= self._epoch
            if self._left is None and not stands:
                self._leave("Broker failed over")

    def _heard(self, channel: str, message: str) -> None:
        if not _is_about(self._name, message):
            return
        loop = asyncio.get_running_loop()
        if channel == _BEGUN:
            self._held_until = loop.time() + _LONGEST_PROMOTION
            if self._left is None and self._master is not None:
                self._leave("Broker is about to fail over")
            return
        if channel == _ABORTED:
            self._held_until = 0.0
        self._ended.set()
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look())

    def _leave(self, event: str) -> None:
        self._left = self._master
        self._log.info(event, master=self._name)
        self._on_moved()


def _is_about(name: str, message: str) -> bool:
    """Tell whether a sentinel's message is about a master.

    It is "master name host port", "slave name host port @ master host port", or, of
    +switch-master, "master old-host old-port new-host new-port".
    """
    words = message.split()
    if "@" in words:
        return words[words.index("@") + 1 :][:1] == [name]
    return words[1:2] == [name] if words[:1] == ["master"] else words[:1] == [name]


def _nodes(settings: SentinelSettings) -> list[Server]:
    nodes = []
    for node in settings.nodes:
        host, _, port = node.rpartition(":")
        if not host or not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
            raise ConfigError("redis.sentinel.nodes", f"{node!r} is not host:port")
        nodes.append((host.strip("[]"), int(port)))
    if not nodes:
        raise ConfigError("redis.sentinel.nodes", "empty", remedy="name the sentinels as host:port")
    return nodes
