from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.jobs import CheckPendingOrders
from duly.schedule import CatchUp, Entry, Overlap
from duly_scheduler.entriesfile import EntriesFile

WHOLE = """
entries:
  nightly:
    kind: check_pending_orders
    cron: 0 3 * * *
    timezone: Europe/Berlin
    queue: low
    overlap: queue_one
    catch_up: one
    paused: true
  often:
    kind: check_pending_orders
    payload: {}
    interval: 5s
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "entries.yaml"


async def test_every_line_becomes_an_entry(file):
    file.write_text(WHOLE)

    assert await EntriesFile(file)() == (
        Entry(
            id="nightly",
            job=CheckPendingOrders(),
            cron="0 3 * * *",
            timezone="Europe/Berlin",
            queue="low",
            overlap=Overlap.QUEUE_ONE,
            catch_up=CatchUp.ONE,
            paused=True,
        ),
        Entry(id="often", job=CheckPendingOrders(), interval=timedelta(seconds=5)),
    )


@pytest.mark.parametrize("text", ["", "entries: {}\n"])
def test_there_may_be_none(file, text):
    file.write_text(text)

    assert EntriesFile(file).read() == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{interval: 5s}", "entries.a.kind: "),
        ("{kind: nope, interval: 5s}", "entries.a.kind: "),
        (
            "{kind: check_pending_orders, payload: {x: 1}, interval: 5s}",
            "entries.a.payload.x: Extra inputs are not permitted (fields of check_pending_orders:",
        ),
        ("{kind: check_pending_orders, payload: [1], interval: 5s}", "entries.a.payload: "),
        (
            "{kind: check_pending_orders, intervall: 5s}",
            "entries.a.intervall: unknown key (",
        ),
        ("{kind: check_pending_orders, interval: soon}", "entries.a.interval: 'soon' is not a dur"),
        ("{kind: check_pending_orders, interval: 5s, overlap: no}", "entries.a.overlap: "),
        ("{kind: [}", "not valid YAML at line 2"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(file, line, message):
    file.write_text(f"entries:\n  a: {line}\n")

    with pytest.raises(ConfigError) as caught:
        EntriesFile(file).read()

    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_told(file):
    with pytest.raises(ConfigError, match="no such file"):
        EntriesFile(file).read()
