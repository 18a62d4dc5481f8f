"""Free and taken ports."""

import socket

from duly.local.ports import free_ports, is_taken


def test_free_ports_differ_and_are_not_taken():
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert not is_taken("127.0.0.1", ports[0])


def test_port_with_a_listener_is_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        assert is_taken("127.0.0.1", listener.getsockname()[1])
