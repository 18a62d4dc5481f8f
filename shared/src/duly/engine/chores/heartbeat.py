"""The heartbeat: renews a server's leases, from a thread, so that a blocked loop loses nothing.

It listens too: whoever pauses a queue, cancels a task or schedules one soon publishes to the
queue's control channel, and the next beat comes at once and learns of it.
"""

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any, cast

import redis
from redis.exceptions import NoPermissionError, NoScriptError, RedisError
from typing_extensions import override

from duly.clock import to_ms
from duly.engine import scripts
from duly.engine.clients import close_blocking, open_blocking
from duly.engine.keys import queue_keys
from duly.engine.store import Pulse, pulse_of
from duly.runtime.settings import RedisSettings

_BEATS_PER_LEASE = 4
_ATTENTION = 0.25


def _close(connection: Any) -> None:  # noqa: ANN401 - a PubSub
    if connection is not None:
        with contextlib.suppress(RedisError, OSError):
            connection.close()


class Heartbeat(threading.Thread):
    """Beats four times a lease for each queue, on a connection of its own.

    Args:
        settings: The broker.
        queues: The queues that this server serves.
        server: Its id.
        lease: How long it counts as alive after a beat.
        describe: Called in this thread; returns the server's description as JSON.
        kinds: Called in this thread; returns the kinds of job that the server knows.
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
        kinds: Callable[[], tuple[str, ...]],
        on_pulse: Callable[[str, Pulse], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._settings, self._queues, self._server, self._lease = settings, queues, server, lease
        self._describe, self._kinds = describe, kinds
        self._on_pulse, self._on_error = on_pulse, on_error
        self._may_listen = True
        self._ended = threading.Event()

    @override
    def run(self) -> None:
        """Beat until `end`."""
        every = self._lease.total_seconds() / _BEATS_PER_LEASE
        client: Any = None
        ear: Any = None
        next_beat = monotonic() + every
        while not self._ended.is_set():
            try:
                if client is None:
                    client = open_blocking(self._settings)
                if ear is None and self._may_listen:
                    ear = client.pubsub(ignore_subscribe_messages=True)
                    ear.subscribe(*(queue_keys(queue).control for queue in self._queues))
                    # What was published before nobody has heard: a beat learns of it.
                    next_beat = monotonic()
                if not self._poked(ear, next_beat - monotonic()) and monotonic() < next_beat:
                    continue
                next_beat = monotonic() + every
                for queue in self._queues:
                    self._on_pulse(queue, self._beat(client, queue))
            except NoPermissionError:
                # An ACL user without the channels: beat on, only without being poked.
                self._may_listen = False
                _close(ear)
                ear = None
            except (RedisError, OSError) as error:
                self._on_error(error)
                _close(ear)
                ear = None
                next_beat = monotonic() + every / 2
                self._ended.wait(every / 2)
        _close(ear)
        close_blocking(client)

    def _poked(self, ear: Any, seconds: float) -> bool:  # noqa: ANN401 - redis-py's PubSub
        """Wait for a message, a while at most; short enough that `end` is noticed."""
        if seconds <= 0:
            return False
        if ear is None:
            self._ended.wait(min(seconds, _ATTENTION))
            return False
        return ear.get_message(timeout=min(seconds, _ATTENTION)) is not None

    def end(self) -> None:
        """Stop beating. Returns at once; the last beat may still be under way."""
        self._ended.set()

    def _beat(self, client: "redis.Redis | redis.RedisCluster", queue: str) -> Pulse:
        call = scripts.beat(
            queue_keys(queue),
            server=self._server,
            lease_ms=to_ms(self._lease),
            description=self._describe(),
            kinds=self._kinds(),
        )
        run = cast("Any", client.execute_command)
        try:
            answer = run("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = run("EVAL", call.script.text, len(call.keys), *call.keys, *call.args)
        return pulse_of(answer)
