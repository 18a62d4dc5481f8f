"""Ports are given once, and from where nobody else takes them."""

import socket

from duly.testing import processes
from duly.testing.processes import free_port, free_port_with_bus

FIRST_OF_THE_KERNEL = 32_768
"""The lowest of the ports that Linux chooses for outgoing connections."""


def test_no_port_is_given_twice():
    ports = [free_port() for _ in range(50)] + [free_port_with_bus() for _ in range(50)]

    assert len(set(ports)) == 100


def test_ports_and_their_buses_are_out_of_the_way_of_outgoing_connections():
    assert free_port() < FIRST_OF_THE_KERNEL
    assert free_port_with_bus() + 10_000 < FIRST_OF_THE_KERNEL


def test_workers_of_pytest_xdist_get_different_ports(monkeypatch):
    shares = set()
    for worker in range(4):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
        shares.add(free_port() % processes._SHARES)

    assert len(shares) == 4


def test_a_port_with_a_listener_or_a_listening_bus_is_passed_over(monkeypatch):
    monkeypatch.setattr(processes, "_given", set())
    monkeypatch.setattr(processes, "_HIGHEST", processes._LOWEST + 20 * processes._SHARES - 1)
    listened, bus = free_port_with_bus(), free_port_with_bus()

    with (
        socket.create_server(("127.0.0.1", listened)),
        socket.create_server(("127.0.0.1", bus + 10_000)),
    ):
        # More than there are, so that each that is free is given more than once.
        given = {free_port_with_bus() for _ in range(60)}

    assert given
    assert not given & {listened, bus}
