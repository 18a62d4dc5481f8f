"""Real servers start, keep their data and go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from duly.testing.servers import BrokerServer
from duly.testing.waiting import wait_until


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_durable_server_keeps_its_data_over_kill9_and_start(tmp_path, kind):
    with getattr(BrokerServer, kind)(tmp_path, durable=True) as server:
        with server.client() as client:
            client.set("a", "1")

        server.kill9()
        server.start()

        with server.client() as client:
            assert client.get("a") == "1"


def test_restart_keeps_port_and_data(own_server):
    with own_server.client() as client:
        client.set("a", "1")
        before = own_server.port

        own_server.restart()

        assert own_server.port == before
        assert client.get("a") == "1"


def test_paused_server_answers_nothing_until_resumed(own_server):
    own_server.pause()
    with own_server.client(timeout_seconds=0.05) as client, pytest.raises(redis.TimeoutError):
        client.ping()

    own_server.resume()

    wait_until(own_server.ready)


def test_settings_are_of_an_empty_server(broker_settings, valkey_server):
    assert broker_settings.port == valkey_server.port
    with valkey_server.client() as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_each_broker_is_named_by_its_own_info(each_broker, request):
    with redis.Redis(port=each_broker.port) as client:
        info = client.info("server")

    assert ("valkey_version" in info) == (request.node.callspec.params["each_broker"] == "valkey")


def test_tls_server_wants_certificates(tls_server):
    with tls_server.client() as client:
        assert client.ping()
    with (
        redis.Redis(port=tls_server.port, retry=None) as plain,
        pytest.raises(redis.ConnectionError),
    ):
        plain.ping()


def test_acl_user_may_not_do_dangerous_things(acl_server):
    with acl_server.client() as client:
        client.set("duly:{a}:b", "1")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other", "1")

    acl_server.flush()

    with acl_server.client() as client:
        assert client.get("duly:{a}:b") is None


def test_server_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import sys, pathlib\n"
        "from duly.testing.servers import BrokerServer\n"
        "server = BrokerServer.valkey(pathlib.Path(sys.argv[1])).start()\n"
        "print(server.process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)

        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()

    wait_until(lambda: not alive(pid), what="the server is gone")
