"""Labels say what a call asks for, and travel beside the engine's own."""

from datetime import UTC, datetime, timedelta

import pytest
from taskiq.labels import prepare_label

from duly import InvalidOptionError, Policy
from duly.engine.storage.codec import Message
from duly.engine.taskiq.labels import Wish, engine_labels, packed, unpacked, wish_of

SECOND = timedelta(seconds=1)


def message(**labels):
    prepared = {name: prepare_label(value) for name, value in labels.items()}
    return Message(
        "id",
        "task",
        {name: text for name, (text, _) in prepared.items()},
        {name: kind for name, (_, kind) in prepared.items()},
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Wish()),
        ({"queue_name": "low"}, Wish(queue="low")),
        ({"priority": 3, "anything": "else", "schedule": [{"cron": "* * * * *"}]}, Wish()),
        ({"delay": 5}, Wish(delay=5 * SECOND)),
        ({"delay": "250ms"}, Wish(delay=SECOND / 4)),
        ({"timeout": 1.5}, Wish(timeout=1.5 * SECOND)),
        ({"timeout": "10"}, Wish(timeout=10 * SECOND)),
        ({"duly_max_attempts": 3}, Wish(max_attempts=3)),
        ({"duly_unique_for": timedelta(days=2, hours=1)}, Wish(unique_for=timedelta(hours=49))),
        ({"duly_retention": "7d"}, Wish(retention=timedelta(days=7))),
        ({"duly_retention": 0}, Wish(retention=timedelta(0))),
        (
            {"duly_deadline": datetime(2030, 1, 1, tzinfo=UTC)},
            Wish(deadline=datetime(2030, 1, 1, tzinfo=UTC)),
        ),
        ({"duly_deadline": "2030-01-01T00:00Z"}, Wish(deadline=datetime(2030, 1, 1, tzinfo=UTC))),
        ({"duly_policy": Policy()}, Wish()),
    ],
    ids=str,
)
def test_labels_that_ask_for_something(labels, expected):
    assert wish_of(message(**labels), {}) == expected


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"duly_retenton": 5}, "did you mean duly_retention"),
        ({"duly_group": "x"}, "known: duly_deadline"),
        ({"queue_name": "No Queue!"}, "is not the name of a queue"),
        ({"delay": "soon"}, "label delay"),
        ({"delay": True}, "is not a duration"),
        ({"delay": -1}, "is negative"),
        ({"timeout": 0}, "less than a millisecond"),
        ({"duly_max_attempts": "many"}, "max_attempts"),
        ({"duly_max_attempts": 0}, "is not within 1 to"),
        ({"duly_deadline": "tomorrow"}, "is not an instant"),
        ({"duly_deadline": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - the point
    ],
    ids=str,
)
def test_what_no_worker_could_do_is_refused_by_name(labels, words):
    with pytest.raises(InvalidOptionError, match=words):
        wish_of(message(**labels), {})


def test_labels_whose_type_is_a_lie_are_refused():
    with pytest.raises(InvalidOptionError, match="label x"):
        wish_of(Message("id", "task", {"x": "abc"}, {"x": 2}), {})


def test_a_delay_in_the_decorator_is_for_retries_and_one_of_a_call_postpones_it():
    assert wish_of(message(delay=10), {"delay": 10}).delay is None
    assert wish_of(message(delay=20), {"delay": 10}).delay == 20 * SECOND


def test_labels_with_the_engines_names_travel_under_others():
    given = message(lock="mine", headers="x", flow=1, **{"taskiq:lock": "odd"}, plain=2)
    engine = {"lock": "digest", "max_attempts": 3}

    travelled = packed(given, engine)

    assert engine_labels(travelled) == engine
    arrived = unpacked(travelled)
    assert (arrived.labels, arrived.labels_types) == (given.labels, given.labels_types)
    arrived.parse_labels()
    assert arrived.labels["plain"] == 2


def test_a_policy_does_not_travel():
    assert packed(message(duly_policy=Policy()), {}).labels == {}
