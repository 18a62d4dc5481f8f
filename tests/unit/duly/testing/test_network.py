"""A network that loses what it is told to lose, and tells nobody."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from duly.testing.environment import in_ci
from duly.testing.network import Network, NoNetworkError
from duly.testing.waiting import wait_until

SPACE = Path("/proc/thread-self/ns/net")
ECHO = """
import socket, threading
def serve(one):
    while data := one.recv(100):
        one.sendall(data)
def listen(port):
    with socket.create_server(("0.0.0.0", port)) as server:
        while True:
            one, _ = server.accept()
            threading.Thread(target=serve, args=(one,), daemon=True).start()
threads = [threading.Thread(target=listen, args=(port,)) for port in (7001, 7002)]
for thread in threads:
    thread.start()
print("up", flush=True)
"""
ASK = """
import json, socket, sys
links = {}
for line in sys.stdin:
    host, port = json.loads(line)
    try:
        link = links.get(port) or socket.create_connection((host, port), timeout=1)
        links[port] = link
        link.sendall(b"x")
        answer = link.recv(1).decode()
    except OSError as error:
        answer = type(error).__name__
        links.pop(port, None)
    print(answer, flush=True)
"""


@pytest.fixture
def network():
    with ExitStack() as stack:
        try:
            network = stack.enter_context(Network.open())
        except NoNetworkError as error:
            if in_ci() and os.geteuid() == 0:
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield network


def start(host, program, request):
    process = subprocess.Popen(
        [*host.prefix, sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def end():
        process.kill()
        with process:
            pass

    request.addfinalizer(end)
    return process


@pytest.fixture
def ask(network, request):
    """Return a function that says what the one host hears of a port of the other."""
    one, other = network.host("one"), network.host("other")
    assert start(other, ECHO, request).stdout.readline() == "up\n"
    asking = start(one, ASK, request)

    def ask(port=7001):
        asking.stdin.write(json.dumps([other.address, port]) + "\n")
        asking.stdin.flush()
        return asking.stdout.readline().strip()

    ask.one, ask.other = one, other
    return ask


def test_hosts_reach_each_other(ask):
    wait_until(lambda: ask() == "x")


@pytest.mark.parametrize("way", ["cut", "one way", "the other", "all"])
def test_what_is_lost_is_lost_without_a_word_until_it_heals(network, ask, way):
    wait_until(lambda: ask() == "x")

    if way == "cut":
        network.cut(ask.one, ask.other)
    elif way == "one way":
        network.drop(ask.one, ask.other)
    elif way == "the other":
        network.drop(ask.other, ask.one)
    else:
        network.drop(ask.other)
    assert [ask(), ask()] == ["TimeoutError", "TimeoutError"]

    network.heal()
    wait_until(lambda: ask() == "x")


def test_a_port_is_lost_and_another_is_not(network, ask):
    wait_until(lambda: [ask(7001), ask(7002)] == ["x", "x"])

    network.cut(ask.one, ask.other, port=7001)

    assert ask(7001) == "TimeoutError"
    wait_until(lambda: ask(7002) == "x")


def test_the_thread_leaves_the_network_with_it(request):
    before = SPACE.readlink()
    network = request.getfixturevalue("network")
    assert SPACE.readlink() != before

    network._stack.close()

    assert SPACE.readlink() == before
