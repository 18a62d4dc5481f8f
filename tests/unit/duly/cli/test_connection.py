"""Which broker a command uses: options and profiles."""

import pytest

from duly.cli import connection


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """`profile("prod", "redis: …")` writes a profile."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(connection, "_folder", lambda: folder)

    def write(name, text):
        (folder / f"{name}.yaml").write_text(text)

    return write


def used(duly, *options):
    """The broker's settings that a command with these global options connects to."""
    assert duly(*options, "queues", "ls").exit_code == 0
    return duly.connected[-1]


def test_a_cluster_is_named_by_an_option(duly):
    assert used(duly, "--redis-url", "redis://a:1", "--cluster").cluster
    assert not used(duly, "--redis-url", "redis://a:1", "--no-cluster").cluster


def test_sentinels_are_named_by_an_option(duly):
    settings = used(duly, "--sentinel", "main@a:26379,b:26379")

    assert settings.sentinel.master == "main"
    assert settings.sentinel.nodes == ("a:26379", "b:26379")


@pytest.mark.parametrize("text", ["main", "main@", "@a:1", "main@redis://a:1", ""])
def test_what_names_no_sentinels_is_refused(duly, text):
    outcome = duly("--sentinel", text, "queues", "ls")

    assert outcome.exit_code == 2
    assert "is not MASTER@HOST:PORT" in outcome.err


@pytest.mark.parametrize(
    ("options", "enabled", "verify", "authority"),
    [
        (("--tls",), True, True, None),
        (("--no-tls",), False, True, None),
        (("--tls-ca-file", "ca.pem"), True, True, "ca.pem"),
        (("--insecure",), True, False, None),
    ],
)
def test_encryption_is_chosen_by_options(duly, options, enabled, verify, authority):
    tls = used(duly, *options).tls

    assert (tls.enabled, tls.verify, tls.ca_file) == (enabled, verify, authority)


def test_options_leave_what_is_configured(duly, profile):
    profile("prod", "redis: {host: r.example, tls: {ca_file: own.pem}}")

    settings = used(duly, "--profile", "prod", "--cluster", "--tls")

    assert (settings.host, settings.cluster, settings.tls.ca_file) == ("r.example", True, "own.pem")


def test_a_profile_is_a_configuration_of_the_person(duly, profile, monkeypatch):
    profile("prod", "redis: {host: prod.example}")
    profile("test", "redis: {host: test.example}")

    assert used(duly, "--profile", "prod").host == "prod.example"

    monkeypatch.setenv("DULY_PROFILE", "test")
    assert used(duly).host == "test.example"
    assert used(duly, "--profile", "prod").host == "prod.example"


def test_a_file_wins_over_the_profile_of_a_variable(duly, profile, monkeypatch, tmp_path):
    profile("prod", "redis: {host: prod.example}")
    (tmp_path / "here.yaml").write_text("redis: {host: here.example}")
    monkeypatch.setenv("DULY_PROFILE", "prod")

    assert used(duly, "--config", str(tmp_path / "here.yaml")).host == "here.example"


def test_a_file_and_a_profile_at_once_are_refused(duly, profile):
    profile("prod", "redis: {host: prod.example}")

    outcome = duly("--config", "duly.yaml", "--profile", "prod", "queues", "ls")

    assert outcome.exit_code == 2
    assert "--config and --profile cannot be combined" in outcome.err


@pytest.mark.parametrize("name", ["prd", "../prod", ""])
def test_an_unknown_profile_is_told_with_those_that_exist(duly, profile, name):
    profile("prod", "")

    outcome = duly("--profile", name, "queues", "ls")

    assert outcome.exit_code == 2
    assert "profiles: prod" in outcome.err
