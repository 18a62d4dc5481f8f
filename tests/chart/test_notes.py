"""What the notes after an installation say of who gets into the monitor."""

import json
import subprocess

import pytest

TOKEN = {"sha256": "a" * 64, "scopes": ["viewer"]}
PROVIDER = {"issuer": "https://login.example", "clientId": "duly", "existingSecret": "oidc"}
CLOSED = "It is closed to everybody"


@pytest.fixture
def notes(helm, chart):
    """`notes(values)`: what helm prints at the end of an installation."""

    def run(values):
        command = [helm, "install", "shop", chart, "--dry-run=client", "--namespace=jobs"]
        command += [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("\nNOTES:\n")[2]

    return run


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param({}, CLOSED, id="nothing"),
        pytest.param(
            {"monitor.access": "closed", "monitor.auth.password": "x"}, CLOSED, id="closed"
        ),
        pytest.param({"monitor.auth.password": "x"}, "Log in as duly. To read", id="a password"),
        pytest.param(
            {"monitor.users": {"vera": {"existingSecret": "v"}, "olaf": {"existingSecret": "o"}}},
            "Log in as olaf, vera; monitor.users names the Secrets",
            id="users",
        ),
        pytest.param(
            {"monitor.access": "token", "monitor.tokens": {"ci": TOKEN}},
            "programs with a token: ci.",
            id="tokens",
        ),
        pytest.param(
            {"monitor.access": "proxy", "monitor.proxies": ["10.0.0.0/8"]},
            "whom your proxy names, at 10.0.0.0/8.",
            id="a proxy",
        ),
        pytest.param(
            {
                "monitor.access": "oidc",
                "monitor.oidc": PROVIDER,
                "monitor.defaultRole": "viewer",
                "monitor.auth.password": "x",
            },
            "It logs people in at https://login.example.",
            id="a provider",
        ),
    ],
)
def test_they_go_by_the_access_that_the_monitor_has(notes, values, sentence):
    said = notes(values)

    assert sentence in said
    assert (CLOSED in said) is (sentence is CLOSED)
    assert said.count("Log in as") == int("Log in as" in sentence)


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        ({}, True),
        ({"networkPolicy.valkeyFrom": [{"podSelector": {}}]}, False),
        ({"networkPolicy.enabled": False}, False),
        ({"worker.queues.low.keda.enabled": False}, False),
    ],
)
def test_keda_that_a_policy_keeps_out_is_told_of(notes, values, is_told):
    base = {"networkPolicy.enabled": True, "worker.queues.low.keda.enabled": True}

    assert ("NOTE: KEDA scales low, and" in notes(base | values)) is is_told
