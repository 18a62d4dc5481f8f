"""Which server the commands talk to."""

import json
import os

import pytest

from duly.runtime.running import DATA_DIR, Running, announce, sole_runner

LOCAL = "redis://127.0.0.1:4321/0"


@pytest.fixture
def running_up(duly):
    """A `duly up` that runs in the current directory."""
    with sole_runner(DATA_DIR):
        announce(DATA_DIR, Running(pid=os.getpid(), redis_url=LOCAL))
        yield


def _url(duly):
    settings = duly.connected[-1]
    return settings.url.get_secret_value() if settings.url else f"{settings.host}:{settings.port}"


def test_without_anything_it_is_the_default(duly):
    duly("queues", "ls")

    assert _url(duly) == "127.0.0.1:6379"


def test_flag_wins(duly, running_up):
    duly("--redis-url", "redis://flag:1", "queues", "ls")

    assert _url(duly) == "redis://flag:1"


def test_variable_wins_over_a_local_run(duly, running_up, monkeypatch):
    monkeypatch.setenv("DULY_REDIS__HOST", "configured")

    duly("queues", "ls")

    assert _url(duly) == "configured:6379"


def test_configuration_file_is_read(duly, tmp_path):
    (tmp_path / "mine.yaml").write_text("redis:\n  port: 7000\n")

    duly("--config", "mine.yaml", "queues", "ls")

    assert _url(duly) == "127.0.0.1:7000"


def test_local_run_is_found_and_named_only_when_asked(duly, running_up):
    quiet = duly("queues", "ls")
    loud = duly("-v", "queues", "ls", "--json")

    assert _url(duly) == LOCAL
    assert quiet.err == ""
    assert loud.err == f"duly: using {LOCAL} of `duly up` (pid {os.getpid()})\n"
    assert loud.json["queues"]


def test_file_of_a_killed_run_is_not_believed(duly):
    DATA_DIR.mkdir()
    (DATA_DIR / "lock").touch()
    (DATA_DIR / "run.json").write_text(json.dumps({"pid": 1, "redis_url": LOCAL}))

    duly("queues", "ls")

    assert _url(duly) == "127.0.0.1:6379"


def test_wrong_configuration_is_exit_code_two(duly, tmp_path):
    (tmp_path / "mine.yaml").write_text("redis:\n  prot: 7000\n")

    outcome = duly("--config", "mine.yaml", "queues", "ls")

    assert outcome.exit_code == 2
    assert "redis.prot" in outcome.err
