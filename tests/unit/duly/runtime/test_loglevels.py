"""Levels of loggers, which a file changes while the service runs."""

import io
import logging
from datetime import timedelta

import pytest
import structlog

from duly.runtime import logs
from duly.runtime.loglevels import LogLevels, levels_of
from duly.runtime.settings import LogSettings
from duly.testing.waiting import wait_until


@pytest.fixture(autouse=True)
def _levels_as_before():
    yield
    LogLevels(logging.INFO, None, print)
    for name in ("loud", "loud.inner", None):
        logging.getLogger(name).setLevel(logging.WARNING if name is None else logging.NOTSET)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "levels.yaml"


@pytest.fixture
def log(file):
    stream = io.StringIO()
    output = logs.configure(LogSettings(levels_file=str(file)), service="worker", stream=stream)
    return output, lambda: [line.split(maxsplit=2)[2] for line in stream.getvalue().splitlines()]


def test_a_file_names_loggers_and_levels():
    text = "# all of them\nduly: debug\n\n'sqlalchemy.engine': INFO  # statements\nroot: ERROR\n"

    assert levels_of(text) == {
        "duly": logging.DEBUG,
        "sqlalchemy.engine": logging.INFO,
        "root": logging.ERROR,
    }


@pytest.mark.parametrize("text", ["duly", "duly: LOUD", ": INFO", "duly INFO"])
def test_a_mistake_names_its_line(text):
    with pytest.raises(ValueError, match="line 2 is not `logger: LEVEL`"):
        levels_of(f"root: INFO\n{text}\n")


def test_a_change_of_the_file_changes_what_is_written(file, log):
    output, lines = log
    ours, theirs = structlog.get_logger("duly.engine"), logging.getLogger("loud.inner")

    def say():
        ours.debug("ours")
        theirs.info("theirs")
        return len(lines())

    assert say() == 0
    file.write_text("duly.engine: DEBUG\nloud: INFO\n")
    output.levels.look()
    assert say() == 2
    file.write_text("duly: ERROR\n")
    output.levels.look()
    assert say() == 2
    ours.warning("below")
    assert len(lines()) == 2
    assert output.level == logging.ERROR


def test_a_mistake_is_told_once_and_changes_nothing(file, log):
    output, lines = log
    file.write_text("duly: DEBUG\n")
    output.levels.look()
    file.write_text("duly: LOUD\n")
    output.levels.look()
    output.levels.look()

    assert output.level == logging.DEBUG
    assert len(lines()) == 1
    assert "Log levels unreadable, keeping the previous ones" in lines()[0]


def test_without_the_file_levels_are_those_of_the_settings(log, file):
    output, lines = log
    file.write_text("duly: DEBUG\n")
    output.levels.look()
    file.unlink()
    output.levels.look()

    assert output.level == logging.INFO
    assert lines() == []


def test_loggers_that_quote_payloads_stay_silent(file, log):
    output, _ = log
    file.write_text("taskiq.receiver: DEBUG\ntaskiq: DEBUG\n")
    output.levels.look()

    assert not logging.getLogger("taskiq.receiver").isEnabledFor(logging.CRITICAL)
    logging.getLogger("taskiq").setLevel(logging.NOTSET)


def test_the_file_is_watched_as_long_as_somebody_wants_it(file):
    wanted, found = [True], LogLevels(logging.INFO, file, lambda _: None)
    found.watch(lambda: wanted[0], every=timedelta(milliseconds=5))
    file.write_text("duly: DEBUG\n")

    wait_until(lambda: found.of("duly") == logging.DEBUG, timeout=30, what="the new level")
    wanted.clear()
    wanted.append(False)
