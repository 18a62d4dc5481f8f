"""TCP ports of this machine: which are free, and whether one is taken."""

import random
import socket
from typing import Final

from duly.errors import DulyError

_OURS: Final = range(22_240, 32_768)


def is_taken(host: str, port: int) -> bool:
    """Tell whether something else listens on the port, or we may not use it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT after the last run counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return `count` different ports that are free now.

    They are below those that kernels give to whoever asks for any: so nobody's outgoing connection
    takes one before its service has come, or while it is started again.

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
