"""`duly up` itself, with services in miniature: what it starts, watches, and leaves behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from duly.testing.processes import free_port
from duly.testing.waiting import wait_until

SERVICES = 6
DEFAULT_WORKER = "duly_worker --queue default --concurrency 3"
STARTED = r"INFO  started"


@pytest.fixture
def up(stand_in_run):
    run = stand_in_run()
    run.until(STARTED, times=SERVICES)
    return run


def test_first_lines_give_the_address_of_every_process(up):
    shown = dict(re.findall(r"^(\S+) +\| (\S+://\S+)", up.text, re.MULTILINE))

    assert list(shown) == [
        "valkey",
        "scheduler",
        "worker-critical",
        "worker-default",
        "worker-low",
        "monitor",
    ]
    assert len(set(shown.values())) == len(shown)
    assert shown["monitor"].endswith("/monitoring/")
    assert "\x1b" not in up.text


def test_services_are_the_commands_of_kubernetes(up):
    words = set(re.findall(r"words='([^']+)'", up.text))

    assert words == {
        "duly_scheduler",
        "duly_worker --queue critical --concurrency 6",
        DEFAULT_WORKER,
        "duly_worker --queue low --concurrency 1",
        "duly_monitor",
        "duly_worker seed --trickle",
    }


def test_database_is_prepared_before_the_services_start(up):
    assert "migrate" not in up.text  # What went well needs no line.
    assert up.facts["database"] == ".duly/orders.db"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_everything_and_exits_zero(up, number, stopwatch):
    started = stopwatch()

    up.send(number)

    assert up.ended() == 0
    assert stopwatch() - started < 10
    assert not up.alive()
    assert up.text.index("stopped words='duly_scheduler'") < up.text.index("stopped words='duly_w")


def test_repeated_signals_change_nothing(up):
    for _ in range(20):
        up.send(signal.SIGINT)
        up.send(signal.SIGTERM)

    assert up.ended() == 0
    assert not up.alive()
    assert up.text.count("| stopping") == 1


def test_signal_during_the_start_leaves_nothing(stand_in_run):
    run = stand_in_run()
    wait_until(lambda: any("valkey-server" in line for line in run.alive().values()))

    run.send(signal.SIGTERM)

    assert run.ended() == 0
    assert not run.alive()


def test_deaf_service_is_killed_within_ten_seconds(stand_in_run, stopwatch):
    run = stand_in_run(deaf=["duly_scheduler", DEFAULT_WORKER, "duly_monitor"])
    run.until(STARTED, times=SERVICES)
    started = stopwatch()

    run.send(signal.SIGTERM)

    assert run.ended() == 0
    assert stopwatch() - started < 10
    assert not run.alive()
    assert "worker-default does not stop: killing it" in run.text


def test_killed_service_is_restarted(up):
    os.kill(up.pid_of(DEFAULT_WORKER), signal.SIGKILL)

    up.until(r"worker-default was killed by SIGKILL: restarting in 0\.5 s")
    up.until(STARTED, times=SERVICES + 1)


def test_killed_valkey_is_restarted_at_the_same_address(up):
    os.kill(up.pid_of("valkey-server"), signal.SIGKILL)

    up.until("valkey was killed by SIGKILL")
    port = int(up.facts["redis_url"].split(":")[-1].split("/")[0])
    wait_until(lambda: _accepts(port))


def test_kill_of_duly_up_itself_leaves_no_orphan(up):
    up.send(signal.SIGKILL)
    up.ended()

    wait_until(lambda: not up.alive(), what="everything is gone")


def test_service_that_never_stays_up_ends_everything(stand_in_run):
    run = stand_in_run(fails={"duly_monitor": "no module named jinja"})

    assert run.ended() == 1
    assert not run.alive()
    assert run.text.count("monitor exited with code 1: restarting") == 4
    assert run.text.splitlines()[-1] == (
        "duly: monitor exited with code 1 5 times right after its start; giving up"
    )


def test_second_run_says_who_has_the_directory(up, stand_in_run):
    second = stand_in_run(folder=up.folder)

    assert second.ended() == 1
    assert second.text == (
        f"duly: duly up is already running here (pid {up.process.pid}, "
        f"monitor {up.facts['monitor']})\n"
    )
    assert up.process.poll() is None


def test_data_and_directory_are_free_after_a_run(up, stand_in_run):
    up.send(signal.SIGTERM)
    up.ended()

    again = stand_in_run(folder=up.folder)

    again.until(STARTED, times=SERVICES)
    assert (up.folder / ".duly/valkey/appendonlydir").is_dir()


def test_taken_monitor_port_is_one_clear_line(stand_in_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = stand_in_run(port=port)

        assert run.ended() == 2

    assert run.text == (
        f"duly: async.monitor.port: port {port} on 127.0.0.1 is taken "
        "(stop the program that listens there, or use another: duly up --port 8081)\n"
    )
    assert not run.alive()


def test_wrong_key_is_one_clear_line(stand_in_run, tmp_path):
    (tmp_path / "duly.yaml").write_text("redis:\n  hots: elsewhere\n")

    run = stand_in_run("--config", "duly.yaml")

    assert run.ended() == 2
    assert run.text.count("\n") == 1
    assert "redis.hots" in run.text
    assert not run.alive()


def test_missing_configuration_file_is_one_clear_line(stand_in_run):
    run = stand_in_run("--config", "nowhere.yaml")

    assert run.ended() == 2
    assert run.text.count("\n") == 1
    assert "nowhere.yaml" in run.text


def test_unreachable_broker_is_one_clear_line(stand_in_run):
    port = free_port()

    run = stand_in_run("--redis-url", f"redis://:hush@127.0.0.1:{port}/0")

    assert run.ended() == 1
    assert run.text.count("\n") == 1
    assert f"127.0.0.1:{port}" in run.text
    assert "hush" not in run.text
    assert not run.alive()


def test_failed_migration_is_one_clear_line(stand_in_run):
    run = stand_in_run(fails={"duly_worker migrate": "database.url: not a database"})

    assert run.ended() == 1
    assert run.text == "duly: migrate failed: database.url: not a database\n"
    assert not run.alive()


def test_a_wrong_setting_that_the_migration_finds_is_wrong_configuration(stand_in_run):
    run = stand_in_run(fails={"duly_worker migrate": 2})

    assert run.ended() == 2
    assert run.text.startswith("duly: migrate failed: ")
    assert not run.alive()


def test_where_the_log_is_json_every_line_is(stand_in_run):
    run = stand_in_run(DULY_LOG__FORMAT="json")
    run.until("Ctrl-C stops everything")
    run.until("INFO  started", times=SERVICES)
    run.send(signal.SIGTERM)

    assert run.ended() == 0
    lines = [json.loads(line) for line in run.text.splitlines()]
    assert {"valkey", "scheduler", "duly"} < {line["service"] for line in lines}


def test_reader_that_went_away_ends_everything(local_run, stand_in_run, tmp_path):
    run = stand_in_run()
    run.until(STARTED, times=SERVICES)
    run.send(signal.SIGTERM)
    run.ended()
    piped = subprocess.Popen(
        [sys.executable, "-m", "duly.cli", "up", "--port", "0"],
        cwd=tmp_path,
        env=run.environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    piped.stdout.readline()
    piped.stdout.close()

    # The next line that anybody writes finds nobody.
    os.kill(wait_until(lambda: _pid(run, DEFAULT_WORKER)), signal.SIGKILL)

    piped.wait(120)
    wait_until(lambda: not run.alive())


def test_output_that_nobody_reads_does_not_hold_up_the_end(stand_in_run, tmp_path):
    run = stand_in_run()
    run.until(STARTED, times=SERVICES)
    run.send(signal.SIGTERM)
    run.ended()
    reading, writing = os.pipe()
    while _fill(writing):
        pass
    os.set_blocking(writing, True)
    piped = subprocess.Popen(
        [sys.executable, "-m", "duly.cli", "up", "--port", "0"],
        cwd=tmp_path,
        env=run.environment,
        stdout=writing,
        start_new_session=True,
    )
    wait_until(lambda: _pid(run, "--trickle"))

    piped.send_signal(signal.SIGTERM)

    assert piped.wait(120) == 0
    assert not run.alive()
    os.close(reading)
    os.close(writing)


def _pid(run, words):
    return next((pid for pid, line in run.alive().items() if words in line), None)


def _fill(descriptor):
    os.set_blocking(descriptor, False)
    try:
        return os.write(descriptor, b"x" * 4096)
    except BlockingIOError:
        return 0


def _accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
