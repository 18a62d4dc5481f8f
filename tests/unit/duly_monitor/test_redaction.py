"""Secrets are masked by their key, sizes are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly_monitor.redaction import MASK, mask, pretty

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
