"""What every test of the tree gets besides the fixtures of `duly.testing`."""

import os
import sys

import pytest

LOOPBACK = ("127.", "::1", "localhost")


def _only_loopback(event: str, args: tuple) -> None:
    """Refuse connections that leave this machine: a test must not depend on the world."""
    if event != "socket.connect":
        return
    address = args[1]
    if isinstance(address, tuple) and not str(address[0]).startswith((*LOOPBACK, "0.0.0.0")):
        raise PermissionError(f"a test tried to connect to {address[0]}")


sys.addaudithook(_only_loopback)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch, tmp_path_factory):
    """Take away the developer's own DULY_ variables."""
    for name in [name for name in os.environ if name.startswith("DULY_")]:
        monkeypatch.delenv(name)
