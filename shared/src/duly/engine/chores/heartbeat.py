"""The heartbeat: renews a server's leases, from a thread, so that a blocked loop loses nothing."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import redis
from redis.exceptions import NoScriptError, RedisError
from typing_extensions import override

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.connection import open_blocking
from duly.engine.keys import queue_keys
from duly.engine.store import Pulse, pulse_of
from duly.runtime.settings import RedisSettings

_BEATS_PER_LEASE = 4


class Heartbeat(threading.Thread):
    """Beats four times a lease for each queue, on a connection of its own.

    Args:
        settings: The broker.
        queues: The queues that this server serves.
        server: Its id.
        lease: How long it counts as alive after a beat.
        describe: Called in this thread; returns the server's description as JSON.
        on_pulse: Called in this thread with (queue, pulse) after each beat.
        on_error: Called in this thread with each error; the next beat tries again.
    """

    def __init__(
        self,
        settings: RedisSettings,
        queues: tuple[str, ...],
        *,
        server: str,
        lease: timedelta,
        describe: Callable[[], bytes],
        on_pulse: Callable[[str, Pulse], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._settings, self._queues, self._server, self._lease = settings, queues, server, lease
        self._describe, self._on_pulse, self._on_error = describe, on_pulse, on_error
        self._ended = threading.Event()

    @override
    def run(self) -> None:
        """Beat until `end`."""
        client: Any = None
        every = self._lease.total_seconds() / _BEATS_PER_LEASE
        while not self._ended.wait(every):
            try:
                if client is None:
                    client = open_blocking(self._settings)
                for queue in self._queues:
                    self._on_pulse(queue, self._beat(client, queue))
            except (RedisError, OSError) as error:
                self._on_error(error)
        if client is not None:
            client.close()

    def end(self) -> None:
        """Stop beating. Returns at once; the last beat may still be under way."""
        self._ended.set()

    def _beat(self, client: "redis.Redis | redis.RedisCluster", queue: str) -> Pulse:
        call = scripts.beat(
            queue_keys(queue),
            server=self._server,
            lease_ms=to_ms(self._lease),
            description=self._describe(),
        )
        run = cast("Any", client.execute_command)
        try:
            answer = run("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = run("EVAL", call.script.text, len(call.keys), *call.keys, *call.args)
        return pulse_of(answer)
