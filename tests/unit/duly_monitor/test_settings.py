"""Combinations of settings that would open the monitor by mistake."""

import pytest

from duly.errors import ConfigError
from duly.runtime.settings import MonitorSettings
from duly_monitor.settings import Settings, check_access, is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
    ],
)
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "::ffff:10.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.1",
    ],
)
def test_any_other_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "monitor",
    [{"access": "local", "host": "::"}, {"access": "basic"}, {"access": "basic", "password": ""}],
)
def test_combinations_that_are_refused(monitor):
    with pytest.raises(ConfigError, match="monitor"):
        check_access(Settings(monitor=MonitorSettings(**monitor)))


@pytest.mark.parametrize(
    "monitor",
    [{}, {"access": "local"}, {"access": "basic", "password": "x", "host": "0.0.0.0"}],
)
def test_combinations_that_are_accepted(monitor):
    check_access(Settings(monitor=MonitorSettings(**monitor)))
