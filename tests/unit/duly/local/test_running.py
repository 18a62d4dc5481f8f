"""Who has the data directory."""

import pytest

from duly.errors import DulyError
from duly.local.running import AlreadyRunningError, Running, announce, find, sole_runner

FACTS = Running(
    pid=42,
    monitor="http://127.0.0.1:8080/monitoring/",
    redis_url="redis://127.0.0.1:4321/0",
    processes={"monitor": "http://127.0.0.1:8080/monitoring/"},
)


def test_second_runner_learns_of_the_first(tmp_path):
    with sole_runner(tmp_path):
        announce(tmp_path, FACTS)
        with (
            pytest.raises(AlreadyRunningError, match=r"pid 42, monitor http://127.0.0.1:8080/"),
            sole_runner(tmp_path),
        ):
            pass


def test_second_runner_is_refused_before_the_first_has_said_anything(tmp_path):
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


def test_directory_that_can_not_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(DulyError, match=r"can not be used: Not a directory .*--data-dir"),
        sole_runner(tmp_path / "file" / "data"),
    ):
        pass
