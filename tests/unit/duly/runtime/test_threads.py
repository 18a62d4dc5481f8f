import asyncio
import subprocess
import sys
import threading

import pytest

from duly.runtime import threads


async def test_a_function_runs_beside_the_loop_and_returns():
    assert await threads.start(
        lambda a, *, b: (a, b, threading.current_thread().daemon), 1, b=2
    ) == (
        1,
        2,
        True,
    )


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
async def test_what_it_raises_arrives(error):
    def fail():
        raise error

    future = threads.start(fail)
    await asyncio.wait({future})

    assert future.exception() is error


async def test_what_no_future_can_hold_arrives_as_another_error():
    def stop():
        raise StopIteration("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await threads.start(stop)


async def test_even_a_late_generator_exit_can_be_handled_by_who_awaits():
    release = threading.Event()

    def leave():
        release.wait(60)
        raise GeneratorExit

    async def handle():
        try:
            await threads.run(leave)
        except GeneratorExit:
            await asyncio.sleep(0)
            return "handled"

    async def outer():
        return await handle()

    handling = asyncio.create_task(outer())
    await asyncio.sleep(0)
    release.set()
    assert await handling == "handled"


async def test_an_abandoned_function_may_end_as_it_likes(until):
    release, ended = threading.Event(), []

    def work():
        release.wait(60)
        ended.append(True)
        raise ValueError("nobody waits")

    future = threads.start(work)
    future.cancel()
    release.set()

    await until(lambda: ended)
    await asyncio.sleep(0)
    assert future.cancelled()


def test_a_process_ends_while_the_function_runs():
    program = """
import asyncio, time
from duly.runtime import threads
async def main():
    threads.start(time.sleep, 3600)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
