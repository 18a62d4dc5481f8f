"""Free and taken ports."""

import socket

import pytest

from duly.errors import DulyError
from duly.local import ports
from duly.local.ports import free_ports, is_taken
from duly.testing.processes import free_port


def test_free_ports_differ_and_are_not_taken():
    found = free_ports(20)

    assert len(set(found)) == 20
    assert not is_taken("127.0.0.1", found[0])


def test_no_outgoing_connection_takes_a_port_before_its_service_starts():
    assert max(free_ports(20)) < 32_768  # where Linux begins with those for anybody


def test_too_few_free_ports_are_an_error(monkeypatch):
    port = free_port()
    monkeypatch.setattr(ports, "_OURS", range(port, port + 1))

    with pytest.raises(DulyError, match=r"only 1 TCP ports of 127\.0\.0\.1 are free, 2 are needed"):
        free_ports(2)


def test_port_with_a_listener_is_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        assert is_taken("127.0.0.1", listener.getsockname()[1])
