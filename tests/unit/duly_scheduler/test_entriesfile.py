from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.described_job import described_job
from duly.errors import BrokerDownError, ConfigError, UnknownKindError
from duly.job import Job
from duly.job_schema import policy_of, schema_of
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


class Remind(Job, kind="remind"):
    """A job of another team, whose class is not in a scheduler."""

    user_id: int
    text: str = "hello"


REMIND = described_job("remind", schema_of(Remind), policy_of(Remind))


async def unknown(kind):
    raise UnknownKindError(kind, ("remind", "report"))


async def known(kind):
    return REMIND if kind == "remind" else await unknown(kind)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "entries.yaml"


async def test_every_line_becomes_an_entry(file):
    file.write_text(WHOLE)

    assert await EntriesFile(file, [CheckPendingOrders]).provide(unknown) == (
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
def test_a_file_may_have_no_entries(file, text):
    file.write_text(text)

    assert EntriesFile(file, [CheckPendingOrders]).read() == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{interval: 5s}", "entries.a.kind: "),
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
def test_a_mistake_is_reported_with_file_and_key(file, line, message):
    file.write_text(f"entries:\n  a: {line}\n")

    with pytest.raises(ConfigError) as caught:
        EntriesFile(file, [CheckPendingOrders]).read()

    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_a_missing_file_is_reported(file):
    with pytest.raises(ConfigError, match="no such file"):
        EntriesFile(file, [CheckPendingOrders]).read()


OTHERS = """
entries:
  mine: {kind: check_pending_orders, interval: 5s}
  theirs: {kind: remind, payload: {user_id: 7}, interval: 1m}
"""


async def test_a_kind_of_the_catalogue_needs_no_class(file):
    file.write_text(OTHERS)
    entries = EntriesFile(file, [CheckPendingOrders])

    (mine, theirs) = await entries.provide(known)

    assert mine.job == CheckPendingOrders()
    assert theirs.job == REMIND(user_id=7, text="hello")
    assert await entries.provide(known) == (mine, theirs)


async def test_an_unknown_kind_is_refused_once_and_picked_up_later(file):
    file.write_text(OTHERS)
    entries = EntriesFile(file, [CheckPendingOrders])

    with capture_logs() as lines:
        for _ in range(2):
            assert [entry.id for entry in await entries.provide(unknown)] == ["mine"]
        assert [entry.id for entry in await entries.provide(known)] == ["mine", "theirs"]

    (line,) = lines
    assert line["event"] == "Entry refused, the others go on"
    assert line["entry"] == "theirs"
    assert "entries.theirs.kind: no job of the kind 'remind'" in line["reason"]


async def test_a_kind_that_the_broker_has_lost_stays_as_it_was(file):
    file.write_text(OTHERS)
    entries = EntriesFile(file, [CheckPendingOrders])
    before = await entries.provide(known)

    assert await entries.provide(unknown) == before


async def test_a_payload_that_does_not_fit_the_catalogue_holds_up_no_other_entry(file):
    file.write_text(OTHERS.replace("user_id: 7", 'user_id: "7"'))

    with capture_logs() as lines:
        entries = await EntriesFile(file, [CheckPendingOrders]).provide(known)

    assert [entry.id for entry in entries] == ["mine"]
    assert lines[0]["reason"] == (
        f"{file}: entries.theirs.payload.user_id: is text, but must be integer, such as 7 "
        "(fields of remind: user_id, text)"
    )


def test_kinds_of_the_catalogue_do_not_end_the_start(file):
    file.write_text(OTHERS)

    assert [entry.id for entry in EntriesFile(file, [CheckPendingOrders]).read()] == ["mine"]


async def test_a_broker_that_is_down_keeps_the_entries_as_they_were(file):
    file.write_text(OTHERS)

    async def down(kind):
        raise BrokerDownError("somewhere")

    with pytest.raises(BrokerDownError):
        await EntriesFile(file, [CheckPendingOrders]).provide(down)
