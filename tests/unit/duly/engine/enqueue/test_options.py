"""What a call may say, and that no worker gets what it would have to quarantine."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duly.engine.enqueue.options import identifier, instant_ms, queue_name
from duly.engine.enqueue.request import Request, prepare
from duly.engine.storage.codec import decode
from duly.engine.storage.delivery import Delivery
from duly.engine.storage.keys import queue_keys
from duly.engine.worker import attempt
from duly.engine.worker.received import Received
from duly.engine.worker.taskiq_broker import HandlerSpec
from duly.errors import ConfigError, EnqueueError, InvalidOptionError
from duly.job import Job, Policy
from duly.payload import form_of
from duly.schedule import Entry
from duly.task import ATTEMPTED_HEADER, SLOT_HEADER

NOW = 1_767_614_400_000
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Greet(Job, kind="greet"):
    name: str = "ada"


REFUSED = {
    "queue": ["", "low\n", "Low", "a b", "x" * 65, 7, b"low"],
    "task_id": ["", "a\nb", "a\n", "x" * 257, "a\x00", "\ud800", "a\u2028b", 7, b"one"],
    "delay": [timedelta.max, timedelta.min, -timedelta(seconds=1), 5, timedelta(microseconds=1)],
    "due": [NOON.replace(tzinfo=None), date(2026, 1, 5), NOW, "2026-01-05"],
    "max_attempts": [-1, 0, True, 1001, 2**53, 2.0, "3"],
    "timeout": [timedelta.max, timedelta(0), -timedelta(1), timedelta(microseconds=100), 30],
    "deadline": [NOON.replace(tzinfo=None), "tomorrow", timedelta(1)],
    "unique_for": [timedelta.max, -timedelta(1), 60, timedelta(microseconds=1)],
    "retention": [timedelta.max, -timedelta(1), 60, timedelta(microseconds=1)],
    "headers": [
        {"a": 1},
        {1: "a"},
        {"a": None},
        {"a": b"b"},
        {"a": "\ud800"},
        {"x" * 9_999: 1},
        ["a"],
        "a=b",
    ],
    "group": ["", "a\n", "x" * 129, 7],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, values in REFUSED.items() for value in values],
    ids=repr,
)
def test_a_wrong_option_is_refused_with_its_name_and_a_remedy(option, value):
    with pytest.raises(InvalidOptionError) as caught:
        prepare(Request(job=Greet(), **{option: value}), NOW, {})

    assert caught.value.option.startswith(option)
    assert str(caught.value).startswith(option)
    assert caught.value.remedy in str(caught.value)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, EnqueueError)
    assert isinstance(caught.value, ValueError)


ACCEPTED = {
    "queue": ["low", "a.b-c_9", "x" * 64],
    "task_id": ["a", "with a space", "ä" * 256],
    "delay": [timedelta(0), timedelta(days=36_500)],
    "due": [datetime(1969, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOON],
    "max_attempts": [1, 1000],
    "timeout": [timedelta(milliseconds=1), timedelta(days=36_500)],
    "deadline": [datetime.max.replace(tzinfo=UTC)],
    "unique_for": [timedelta(0), timedelta(hours=1)],
    "retention": [timedelta(0), timedelta(days=36_500)],
    "headers": [{}, {"": "", "a": "b\n"}],
    "group": ["a", "x" * 128],
}


def begun(prepared):
    """Return the attempt that a worker makes of a task."""
    spec = HandlerSpec(
        Greet,
        lambda message: form_of(Greet).decode(message.kwargs),
        print,
        is_async=False,
        max_attempts=3,
        timeout_ms=0,
        retention_ms=0,
    )
    message = decode(prepared.new.data)
    received = Received("default", Delivery(b"1-0", prepared.new.data), message)
    return attempt.start(received, message, spec, now_ms=NOW, started=0.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, values in ACCEPTED.items() for value in values],
    ids=repr,
)
def test_what_is_accepted_can_be_begun_by_a_worker(option, value):
    prepared = prepare(Request(job=Greet(), **{option: value}), NOW, {})

    assert begun(prepared).job == Greet()
    assert prepared.new.due_ms >= 0


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "task_id": st.text(max_size=300),
        "delay": st.timedeltas(),
        "max_attempts": st.integers() | st.booleans(),
        "timeout": st.timedeltas(),
        "deadline": st.datetimes(timezones=st.none() | st.just(UTC)),
        "unique_for": st.timedeltas(),
        "retention": st.timedeltas(),
        "headers": st.dictionaries(st.text(), st.text() | st.integers()),
        "group": st.text(max_size=200),
    },
)


@given(OPTIONS, st.text())
def test_whatever_a_call_says_it_is_refused_here_or_begun_there(options, name):
    try:
        prepared = prepare(Request(job=Greet(name=name), **options), NOW, {})
    except (EnqueueError, ValidationError):
        return

    running = begun(prepared)
    assert running.job.name == name
    assert running.context.id == prepared.new.id
    assert running.context.headers == options.get("headers", {})


def test_headers_that_duly_writes_are_not_taken_from_callers():
    given = {"tenant": "a", SLOT_HEADER: "0 9", ATTEMPTED_HEADER: "x", "duly-new": "y"}
    prepared = prepare(Request(job=Greet(), headers=given), NOW, {})

    assert begun(prepared).context.headers == {"tenant": "a"}


def test_a_delay_and_an_instant_exclude_each_other():
    with pytest.raises(InvalidOptionError, match="together with delay"):
        prepare(Request(job=Greet(), delay=timedelta(1), due=NOON), NOW, {})


def test_a_job_without_a_kind_is_refused():
    for job in (Job(), Greet, {"name": "ada"}, None):
        with pytest.raises(InvalidOptionError, match="job"):
            prepare(Request(job=job), NOW, {})


def test_instants_before_1970_are_now():
    assert instant_ms("due", datetime.min.replace(tzinfo=UTC)) == 0


@pytest.mark.parametrize("name", ["low\n", "low\r", "low\u2028", " low", "Low", "\u0131"])
def test_a_name_is_refused_everywhere(name):
    with pytest.raises(InvalidOptionError):
        queue_name(name)
    with pytest.raises(ConfigError):
        queue_keys(name)
    with pytest.raises(ValidationError):
        Policy(queue=name)
    with pytest.raises(TypeError):
        type(Job)("Made", (Job,), {"__module__": __name__}, kind=name)
    with pytest.raises(ConfigError):
        Entry(id=name, job=Greet(), interval=timedelta(minutes=1)).check()
    with pytest.raises(ConfigError):
        Entry(id="x", job=Greet(), queue=name, interval=timedelta(minutes=1)).check()


def test_an_identifier_is_returned():
    assert identifier("flow_id", "mine") == "mine"


def test_no_task_has_the_address_of_the_message_of_another():
    with pytest.raises(InvalidOptionError, match="message of another task"):
        identifier("task_id", "x/message")
    assert identifier("task_id", "message") == "message"
    assert identifier("task_id", "x/messages") == "x/messages"
