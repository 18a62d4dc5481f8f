"""What is read of a message's labels."""

import pytest

from duly.engine.storage.codec import Message, encode, lock_in, lock_of


@pytest.mark.parametrize(
    ("labels", "lock"),
    [
        pytest.param({"lock": "digest"}, "digest", id="unique"),
        pytest.param({}, "", id="not unique"),
        pytest.param({"lock": 5}, "", id="no text"),
        pytest.param({"lock": None}, "", id="none"),
    ],
)
def test_the_lock_of_a_message_is_its_label(labels, lock):
    message = Message(task_id="one", task_name="greet", labels=labels)

    assert lock_of(message) == lock
    assert lock_in(encode(message)) == lock


@pytest.mark.parametrize("data", [None, b"", b"no JSON", b"[]"])
def test_a_message_that_cannot_be_read_names_no_lock(data):
    assert lock_in(data) == ""
