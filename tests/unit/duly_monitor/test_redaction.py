"""Secrets are masked by their key, sizes are bounded."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.task import Attempt, AttemptOutcome, Task, TaskState
from duly_monitor.redaction import MASK, mask, mask_text, masked, pretty, shorten

NOW = datetime(2026, 11, 25, tzinfo=UTC)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "db_password",
        "passwd",
        "token",
        "access_token",
        "refreshToken",
        "secret",
        "client_secret_id",
        "email",
        "customer_email",
        "e-mail",
        "authorization",
        "Authorisation",
        "api_key",
        "apiKey",
        "api-key",
        "private_key",
        "card_number",
        "iban",
        "cvv",
        "cookie",
        "pin",
        "ssn",
    ],
)
@pytest.mark.parametrize("value", ["x", 7, ["x"], {"a": "x"}])
def test_secrets_are_masked_wherever_they_are(key, value):
    assert mask({"a": [{key: value}]}) == {"a": [{key: MASK}]}


@pytest.mark.parametrize("key", ["order_id", "passenger", "shipping", "cardinality", "keyboard"])
def test_other_values_are_shown(key):
    assert mask({key: "x"}) == {key: "x"}


@pytest.mark.parametrize("value", [None, True, False])
def test_nothing_and_switches_are_shown(value):
    assert mask({"email": value}) == {"email": value}


@given(JSON)
def test_masking_is_idempotent_and_bounded(value):
    assert mask(mask(value)) == mask(value)
    assert len(pretty(value)) <= 2_040


def test_deep_payloads_end():
    deep = {}
    for _ in range(500):
        deep = {"a": deep}

    assert "…" in pretty(deep)


def test_integers_stay_exact():
    assert pretty({"id": 9_007_199_254_740_993}) == '{\n  "id": 9007199254740993\n}'


SECRET_TEXTS = pytest.mark.parametrize(
    "text",
    [
        "login failed: password=hunter2",
        "login failed: password: hunter2",
        "cannot send to hunter2@example.org",
        "{'customer_email': 'hunter2', 'n': 1}",
        '{"api_key": "hunter2 with \\" and blanks"}',
        "ConnectionError: redis://worker:hunter2@broker:6379/0",
        "Authorization: Bearer hunter2hunter2",
        "401 for Basic aHVudGVyMg==hunter2",
        "got eyJhbGciOiJIUzI1NiJ9.hunter2hunter2.sig",
        "kwargs = dict(db_password='hunter2')",
        "https://hooks.example/send?access_token=hunter2&n=1",
        "a-very-long-local-part-" + "x" * 60 + "-hunter2@example.org",
    ],
)


@SECRET_TEXTS
def test_texts_are_held_to_the_rules_of_payloads(text):
    shown = mask_text(text)

    assert "hunter2" not in shown
    assert MASK in shown


@SECRET_TEXTS
def test_strings_of_payloads_are_held_to_the_rules_of_texts(text):
    shown = mask({"note": text, "lines": [{"x": text}]})

    assert shown == {"note": mask_text(text), "lines": [{"x": mask_text(text)}]}
    assert "hunter2" not in pretty(shown)


def test_strings_of_payloads_are_not_cut():
    assert mask({"note": "x" * 200_000 + " token=a"}) == {"note": "x" * 200_000 + f" token={MASK}"}


def test_a_task_is_masked_as_far_as_a_search_looks_into_it():
    attempts = tuple(
        Attempt(number=2 - n, outcome=AttemptOutcome.FAILED, at=NOW, error=f"token=x {n}")
        for n in range(2)
    )
    task = Task(
        id="a", queue="low", kind="k", state=TaskState.RETRY, payload={"pin": 7, "n": 1},
        history=attempts,
    )  # fmt: skip

    shown = masked(task)

    assert shown.payload == {"pin": MASK, "n": 1}
    assert shown.history[0].error == f"token={MASK} 0"
    assert task.history == attempts
    assert masked(Task(id="a", queue="low", kind="k", state=TaskState.WAITING)).history == ()


@pytest.mark.parametrize(
    "text",
    [
        'File "/app/gateway.py", line 88, in post',
        "GatewayError: 502: upstream connect error",
        "2026-11-28T03:00:00 order_id=7",
        "token: None",
        "ratio 3:4 at 10:30",
    ],
)
def test_other_texts_are_shown(text):
    assert mask_text(text) == text


@given(st.text(alphabet="ap:=@'\"/.\n passwordtoken-eyJ", max_size=300))
def test_masking_a_text_is_idempotent(text):
    assert mask_text(mask_text(text)) == mask_text(text)


def test_a_hostile_text_cannot_turn_ours_round():
    assert shorten("a\u202ebc\u2066", 100) == "a\\u202ebc\\u2066"
    assert "\u202e" not in pretty({"a": "\u202e"})


def test_a_text_is_cut_with_a_note():
    assert shorten("x" * 30, 10) == "x" * 10 + "… (20 more characters)"
