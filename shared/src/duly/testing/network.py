"""A network of namespaces for tests: hosts around a router that loses the packets it is told to.

The hosts notice nothing of a loss: no interface goes down, no connection ends, nobody is told.
Linux only, as root, with `ip`, `tc`, `unshare` and `nsenter`.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from duly.testing.environment import inherited
from duly.testing.processes import spawn, stay_here, stop
from duly.testing.waiting import wait_until

PREFIX = "198.18."
"""A range that RFC 2544 keeps for tests, so that it leads nowhere on any machine."""
_NEW_NETWORK = 0x4000_0000
"""CLONE_NEWNET. Python knows it from 3.12 on."""
_PROGRAMS = ("ip", "tc", "unshare", "nsenter")


class NoNetworkError(Exception):
    """This machine, or this user, cannot have network namespaces."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the network: a namespace with one address."""

    name: str
    address: str
    pid: int
    """Of a process that keeps the namespace."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that is to run on this host."""
        return "nsenter", f"--net=/proc/{self.pid}/ns/net", "--"

    def program(self, program: Path, folder: Path) -> Path:
        """Write a program into a folder that runs another one on this host; return it."""
        file = folder / f"{program.name}-on-{self.name}"
        file.write_text(f'#!/bin/sh\nexec {" ".join(self.prefix)} {program} "$@"\n')
        file.chmod(0o755)
        return file


@dataclass(kw_only=True, eq=False)
class Network:
    """Hosts around a router. The thread that opens it is at the router, and reaches all hosts."""

    _stack: ExitStack
    _outside: Path
    """The name of the namespace in which this thread was."""
    _hosts: list[Host] = field(default_factory=list)
    _rules: list[tuple[str, ...]] = field(default_factory=list)
    _congested: list[Host] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Self]:
        """Put this thread at the router for the body of a `with`. What it starts stays outside.

        Raises:
            NoNetworkError: There are no such programs, or no rights.
        """
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing:
            raise NoNetworkError(f"no {missing[0]}: install Debian's iproute2 and util-linux")
        with ExitStack() as stack:
            space = Path("/proc/thread-self/ns/net")
            name, outside = space.readlink(), stack.enter_context(space.open("rb"))
            stay_here()
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_NEW_NETWORK):
                problem = os.strerror(ctypes.get_errno())
                raise NoNetworkError(f"no network namespaces: {problem}; run as root")
            stack.callback(libc.setns, outside.fileno(), _NEW_NETWORK)
            _run("ip", "link", "set", "lo", "up")
            # What is for this thread can be lost only by a rule before that of local addresses.
            _run("ip", "rule", "add", "pref", "100", "lookup", "local")
            _run("ip", "rule", "del", "pref", "0")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            yield cls(_stack=stack, _outside=name)

    def host(self, name: str) -> Host:
        """Add a host.

        Args:
            name: At most ten characters.
        """
        number = len(self._hosts) + 1
        here, there = f"{PREFIX}{number}.1", f"{PREFIX}{number}.2"
        keeper = spawn(
            ("unshare", "--net", "sleep", "infinity"),
            log=subprocess.DEVNULL,
            folder=Path("/"),
            environment=inherited(),
        )
        self._stack.callback(stop, keeper)
        space = Path(f"/proc/{keeper.pid}/ns/net")
        wait_until(lambda: space.readlink() != self._outside, what=f"{name} has a namespace")
        host = Host(name, there, keeper.pid)
        _run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0",
             "netns", str(keeper.pid))  # fmt: skip
        _run("ip", "address", "add", f"{here}/24", "dev", f"to-{name}")
        _run("ip", "link", "set", f"to-{name}", "up")
        _run(*host.prefix, "ip", "link", "set", "lo", "up")
        _run(*host.prefix, "ip", "address", "add", f"{there}/24", "dev", "eth0")
        _run(*host.prefix, "ip", "link", "set", "eth0", "up")
        _run(*host.prefix, "ip", "route", "add", "default", "via", here)
        self._hosts.append(host)
        return host

    def cut(self, host: Host, other: Host, *, port: int | None = None) -> None:
        """Lose every packet between two hosts, until `heal`.

        Args:
            host: One of them.
            other: The other one.
            port: Lose only what goes to this TCP port of the other, or comes from it; None: all.
        """
        self._lose("from", host.address, "to", other.address, *_tcp("dport", port))
        self._lose("from", other.address, "to", host.address, *_tcp("sport", port))

    def drop(self, source: Host, target: Host | None = None) -> None:
        """Lose every packet that a host sends, until `heal`.

        Args:
            source: The host.
            target: Lose only what is for this host; None: all, also what is for this thread.
        """
        self._lose("from", source.address, *(("to", target.address) if target else ()))

    def congest(self, host: Host, *, bits_per_second: int, queue_bytes: int) -> None:
        """Lose what goes to a host faster than this, beyond a short queue, until `heal`."""
        _run("tc", "qdisc", "replace", "dev", f"to-{host.name}", "root", "tbf", "rate",
             str(bits_per_second), "burst", "2000", "limit", str(queue_bytes))  # fmt: skip
        self._congested.append(host)

    def lost(self, host: Host) -> int:
        """Return how many packets to a congested host were lost."""
        text = _run("tc", "-s", "qdisc", "show", "dev", f"to-{host.name}")
        return int(text.partition("dropped ")[2].partition(",")[0])

    def _lose(self, *packets: str) -> None:
        _run("ip", "rule", "add", "pref", "10", *packets, "blackhole")
        self._rules.append(packets)

    def heal(self) -> None:
        """Deliver everything again."""
        while self._rules:
            _run("ip", "rule", "del", "pref", "10", *self._rules.pop(), "blackhole")
        while self._congested:
            _run("tc", "qdisc", "del", "dev", f"to-{self._congested.pop().name}", "root")


def _tcp(side: str, port: int | None) -> tuple[str, ...]:
    return ("ipproto", "tcp", side, str(port)) if port else ()


def _run(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - the tests' own commands, no shell
        words, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise NoNetworkError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
