from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.inspection.search import SEARCHED
from duly.task import TaskState
from duly_monitor.search_words import SearchSyntaxError, said, understand

NOW = datetime(2026, 11, 25, 3, 30, tzinfo=UTC)


def test_every_key_is_understood():
    search = understand(
        'queue:default,low state:archived kind:mail error:"no host" args.order.id:7 '
        "since:2h until:2026-11-25T03:00 cause:0123456789abcdef",
        NOW,
    )

    query = search.query
    assert (query.queues, query.states, query.kind) == (
        ("default", "low"), (TaskState.ARCHIVED,), "mail",
    )  # fmt: skip
    assert (query.error, query.cause) == ("no host", "0123456789abcdef")
    assert query.fields == {"order.id": "7"}
    assert (query.since, query.until) == (NOW - timedelta(hours=2), NOW - timedelta(minutes=30))
    assert search.lone == ""


def test_words_without_a_key_are_a_text_and_one_alone_may_be_an_id():
    several = understand('connection "re:fused"', NOW)

    assert (several.query.text, several.lone) == ("connection re:fused", "")
    assert understand(" 5d2f ", NOW).lone == "5d2f"
    assert understand("", NOW).query.states == SEARCHED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat:x", "there is no key stat"),
        ("kind:", "the value is missing: write kind:value"),
        ("kind:a kind:b", "kind is there twice"),
        ("state:archived state:retry", "says archived already"),
        ("queue:a,b kind:x queue:c", "says a, b already"),
        ("state:broken", "use one of waiting, active"),
        ("queue:UPPER", "is not the name of a queue"),
        ("since:yesterday", "use 2h for two hours ago"),
        ("since:99999999999999d", "this is not a time"),
        ("cause:xyz", "16 hexadecimal digits"),
        ('error:"open', "the quote is not closed"),
        ("x" * 1_001, "more than 1,000 characters"),
    ],
)
def test_what_is_wrong_names_the_word_and_the_remedy(text, said):
    with pytest.raises(SearchSyntaxError, match=said) as raised:
        understand(text, NOW)

    assert raised.value.word
    assert raised.value.word in text


def test_what_is_said_is_understood_again():
    words = said(" kind:mail queue:low,default ", queues=("low",), states=(TaskState.RETRY,))

    assert words == "queue:low state:retry kind:mail queue:low,default"
    assert understand(words, NOW).query.queues == ("low",)


def test_all_words_must_hold_however_often_a_key_is_there():
    query = understand("state:retry,archived id:x state:archived,active queue:a", NOW).query

    assert (query.states, query.id, query.queues) == ((TaskState.ARCHIVED,), "x", ("a",))
