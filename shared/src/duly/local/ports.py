"""TCP ports of this machine: which are free, and whether one is taken."""

import socket
from contextlib import ExitStack


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

    All are held until the last is found, so that no two are the same.
    """
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind((host, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports
