"""`python -m duly_monitor` as a process: its exit codes and its lines."""

import asyncio
import re
import socket
import subprocess
import sys

import pytest

from duly.testing.environment import inherited

OFF = {"DULY_ASYNC__MONITOR__ENABLED": "false"}


def run(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "duly_monitor", *arguments],
        env={**inherited(), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_switched_off_it_says_so_and_ends():
    ended = run(**OFF)

    assert ended.returncode == 0
    assert ended.stdout.count("\n") == 1
    assert "Monitor disabled (async.monitor.enabled is false)" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DULY_MONITOR__ACCESS": "local", "DULY_MONITOR__HOST": "0.0.0.0"}, "monitor.host"),
        ({"DULY_MONITOR__ACCESS": "basic"}, "DULY_MONITOR__PASSWORD"),
        ({"DULY_MONITOR__ACCES": "basic"}, "DULY_MONITOR__ACCES"),
        ({"DULY_MONITOR__HOST": "256.1.1.1"}, "cannot listen on 256.1.1.1"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(variables, words):
    ended = run(**{"DULY_ASYNC__MONITOR__PORT": "0", **variables})

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr


def test_a_taken_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(DULY_ASYNC__MONITOR__PORT=str(port))

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"duly-monitor: async.monitor.port: port {port} on 127.0.0.1")
    assert ended.stderr.count("\n") == 1


async def test_sigterm_ends_it_within_seconds_while_a_page_listens_and_the_broker_is_away(
    stopwatch,
):
    variables = {
        "DULY_ASYNC__MONITOR__PORT": "0",
        "DULY_REDIS__PORT": "1",
        "DULY_MONITOR__ACCESS": "local",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "duly_monitor",
        env={**inherited(), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(120):
            assert b"Monitor starting" in await process.stdout.readline()
            line = (await process.stdout.readline()).decode()
            port = int(re.search(r"address=http://127\.0\.0\.1:(\d+)/monitoring/", line)[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /monitoring/live/queues HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"Broker unreachable")

        told = stopwatch()
        process.terminate()
        async with asyncio.timeout(60):
            code = await process.wait()
        assert stopwatch() - told < 8
        rest = (await process.stdout.read()).decode()
        writer.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert code == 0
    assert "Monitor stopped" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize("access", ["closed", "local"])
async def test_without_pages_it_serves_probes_and_metrics_only(connect, access):
    async with connect(ui=False, access=access) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for path in ("/", *(f"/monitoring/{each}" for each in ("", "api/v1/x", "static/app.css"))):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert "monitor.ui" in answer.text
