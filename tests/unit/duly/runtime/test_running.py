"""Who has the data directory."""

import pytest

from duly.errors import DulyError
from duly.runtime.loading import load
from duly.runtime.running import (
    DATA_DIR,
    AlreadyRunningError,
    Running,
    announce,
    embeds_broker,
    find,
    find_broker,
    sole_runner,
)
from duly.runtime.settings import Settings

FACTS = Running(
    pid=42,
    monitor="http://127.0.0.1:8080/monitoring/",
    redis_url="redis://127.0.0.1:4321/0",
    processes={"monitor": "http://127.0.0.1:8080/monitoring/"},
)


def test_a_second_runner_is_refused_with_the_facts_of_the_first(tmp_path):
    with sole_runner(tmp_path):
        announce(tmp_path, FACTS)
        with (
            pytest.raises(AlreadyRunningError, match=r"pid 42, monitor http://127.0.0.1:8080/"),
            sole_runner(tmp_path),
        ):
            pass


def test_a_second_runner_is_refused_before_the_first_has_published_anything(tmp_path):
    with (
        sole_runner(tmp_path),
        pytest.raises(AlreadyRunningError, match=r"already running here$"),
        sole_runner(tmp_path),
    ):
        pass


def test_facts_are_found_while_it_runs_only(tmp_path):
    with sole_runner(tmp_path):
        announce(tmp_path, FACTS)
        assert find(tmp_path) == FACTS

    assert find(tmp_path) is None
    assert not (tmp_path / "run.json").exists()


def test_directory_without_any_run_has_none(tmp_path):
    assert find(tmp_path / "nowhere") is None


def test_unreadable_facts_are_none(tmp_path):
    with sole_runner(tmp_path):
        (tmp_path / "run.json").write_text("{")
        assert find(tmp_path) is None


def test_directory_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(DulyError, match=r"cannot be used: Not a directory .*--data-dir"),
        sole_runner(tmp_path / "file" / "data"),
    ):
        pass


@pytest.mark.parametrize(
    ("variables", "embedded"),
    [
        ({}, True),
        ({"DULY_REDIS__TIMEOUT": "5s"}, True),
        ({"DULY_REDIS__HOST": "elsewhere"}, False),
        ({"DULY_REDIS__PORT": "7000"}, False),
        ({"DULY_REDIS__URL": "redis://elsewhere"}, False),
    ],
)
def test_broker_is_embedded_unless_one_is_named(variables, embedded):
    assert embeds_broker(load(Settings, environment=variables)) is embedded


def test_the_broker_of_the_directory_is_found_while_it_runs_and_no_other_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with sole_runner(DATA_DIR):
        announce(DATA_DIR, FACTS)

        assert find_broker(Settings()) == FACTS
        named = load(Settings, environment={"DULY_REDIS__HOST": "elsewhere"})
        assert find_broker(named) is None
    assert find_broker(Settings()) is None


def test_a_runner_without_a_broker_of_its_own_offers_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sole_runner(DATA_DIR):
        announce(DATA_DIR, Running(pid=42))

        assert find_broker(Settings()) is None
