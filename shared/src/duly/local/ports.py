"""TCP ports of this machine: find free ones, and check one."""

import random
import socket
from typing import Final

from duly.errors import DulyError

_OURS: Final = range(22_240, 32_768)


def is_taken(host: str, port: int) -> bool:
    """Return whether another program listens on the port, or this one may not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT from the last run counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return `count` different ports that are free now.

    They are below the range from which kernels choose ports for outgoing connections, so that none
    of these takes one before its service has started, or while it restarts.

    Raises:
        DulyError: Too few are free.
    """
    ports: list[int] = []
    for port in random.sample(_OURS, len(_OURS)):
        if len(ports) == count:
            return ports
        if not is_taken(host, port):
            ports.append(port)
    raise DulyError(f"only {len(ports)} TCP ports of {host} are free, {count} are needed")
