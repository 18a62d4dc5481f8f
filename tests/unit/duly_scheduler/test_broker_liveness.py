from duly.testing.clock import FrozenClock
from duly_scheduler.broker_liveness import BrokerLiveness


def test_before_the_first_answer_it_is_missing():
    assert BrokerLiveness(FrozenClock()).missing() == "the broker has not answered yet"


def test_an_answer_counts_for_ten_seconds():
    clock = FrozenClock()
    broker_liveness = BrokerLiveness(clock)

    broker_liveness.answered()
    clock.advance(10)
    assert broker_liveness.missing() is None

    clock.advance(2)
    assert broker_liveness.missing() == "the broker has not answered for 12 s"

    broker_liveness.answered()
    assert broker_liveness.missing() is None
