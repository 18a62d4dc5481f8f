import json

import pytest

from duly_monitor.payloads import PayloadError, changes_in, escaped, typed

OLD = {"id": 2**63, "token": "s3cret", "user": {"password": "x", "age": 3}, "tags": ["a"]}


def edited(**changes):
    return json.dumps({**json.loads(typed(OLD)), **changes})


def test_what_is_shown_hides_secrets_and_is_no_change():
    assert "s3cret" not in typed(OLD)
    assert changes_in(OLD, typed(OLD)) == {}


def test_only_what_was_changed_changes():
    assert changes_in(OLD, edited(tags=["b"], new=None)) == {"tags": ["b"], "new": None}
    assert changes_in(OLD, edited(token="other")) == {"token": "other"}
    assert changes_in(OLD, edited(id=2**63 + 1)) == {"id": 2**63 + 1}


def test_a_mask_inside_a_changed_field_is_refused():
    with pytest.raises(PayloadError, match=r"user: .*stands for a secret"):
        changes_in(OLD, edited(user={"password": "••••••", "age": 4}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"), ("[]", "JSON object"), ("NaN", "not JSON"), ('{"id": 1}', "removed"),
        ("[" * 100_000, "JSON|nested"),
    ],
)  # fmt: skip
def test_what_is_no_payload_is_refused(text, said):
    with pytest.raises(PayloadError, match=said):
        changes_in(OLD, text)


def test_bytes_are_printable_and_bounded():
    text = escaped(b"a\\\x00\xff\n<b>" + b"x" * 5_000)

    assert text.startswith(r"a\x5c\x00\xff\x0a<b>xxx")
    assert text.endswith("… (912 more bytes)")
