from duly.testing.clock import FrozenClock
from duly_scheduler.contact import Contact


def test_before_the_first_answer_it_is_missing():
    assert Contact(FrozenClock()).missing() == "the broker has not answered yet"


def test_an_answer_is_good_for_ten_seconds():
    clock = FrozenClock()
    contact = Contact(clock)

    contact.heard()
    clock.advance(10)
    assert contact.missing() is None

    clock.advance(2)
    assert contact.missing() == "the broker has not answered for 12 s"

    contact.heard()
    assert contact.missing() is None
