"""Runs a service: its loop, and the signals that end it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main` to its end and return its exit code.

    `main` is given an event that SIGTERM and SIGINT set; more of them change nothing. Works as
    PID 1, where a signal without a handler would be ignored. uvloop is used where it installs.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signal(main))


async def _until_signal(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()
    log = structlog.get_logger("duly.service")
    loop = asyncio.get_running_loop()

    def heard(number: signal.Signals) -> None:
        if not stop.is_set():
            log.info("Stopping", signal=number.name)
            stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, heard, number)
    try:
        return await main(stop)
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
