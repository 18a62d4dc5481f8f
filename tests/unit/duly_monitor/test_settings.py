"""Combinations of settings that would open the monitor by mistake."""

import pytest

from duly.errors import ConfigError
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor.settings import Settings, check_access, is_loopback

CLIENT = {"issuer": "https://login.example", "client_id": "duly", "client_secret": "x"}
OIDC = {"access": "oidc", "oidc": CLIENT, "roles": {"admin": ["ops"]}}


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
    [
        {"access": "local", "host": "::"},
        {"access": "basic"},
        {"access": "basic", "password": ""},
        {"access": "basic", "users": {"ada": {"password": ""}}},
        {"access": "token"},
        {"access": "token", "tokens": {"ci": {}}},
        {"access": "proxy"},
        {**OIDC, "oidc": {}},
        {**OIDC, "oidc": {**CLIENT, "issuer": "http://login.example"}},
        {**OIDC, "oidc": {**CLIENT, "client_id": ""}},
        {**OIDC, "oidc": {**CLIENT, "client_secret": None}},
        {**OIDC, "oidc": {**CLIENT, "client_secret_file": "/nowhere"}},
        {**OIDC, "oidc": {**CLIENT, "scopes": ["profile"]}},
        {**OIDC, "oidc": {**CLIENT, "ca_file": "/nowhere"}},
        {**OIDC, "oidc": {**CLIENT, "redirect_url": "https://duly.example/login"}},
        {**OIDC, "oidc": {**CLIENT, "redirect_url": "http://a.b/monitoring/login/callback"}},
        {**OIDC, "roles": {}},
        {"tokens": {"ci": {"sha256": "0" * 64, "scopes": ["everything"]}}},
        {"access": "basic", "users": {"ada": {"password_file": "/nowhere"}}},
        {"session": {"keys": "short"}},
        {"session": {"keys": " "}},
        {"session": {"keys_file": "/nowhere"}},
        {"session": {"keys": f"{'k' * 40} short"}},
    ],
)
def test_combinations_that_are_refused(monitor):
    with pytest.raises(ConfigError, match="monitor"):
        check_access(Settings(monitor=MonitorSettings(**monitor)))


@pytest.mark.parametrize(
    "monitor",
    [
        {},
        {"access": "local"},
        {"access": "basic", "password": "x", "host": "0.0.0.0"},
        {"access": "basic", "users": {"ada": {"password": "x"}}},
        {
            "access": "token",
            "tokens": {"ci": {"sha256": "0" * 64, "scopes": ["enqueue", "viewer"]}},
        },
        {"access": "proxy", "proxy": {"networks": ["10.0.0.1", "fd00::/8"]}},
        {"session": {"keys": f"{'k' * 40} {'l' * 40}"}},
    ],
)
def test_combinations_that_are_accepted(monitor):
    check_access(Settings(monitor=MonitorSettings(**monitor)))
