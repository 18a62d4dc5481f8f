"""The soak finds each broken promise, excuses what a replica explains, and repeats its faults."""

from itertools import islice
from pathlib import Path

import pytest

from duly.testing.history import Event, What


@pytest.fixture
def soak(monkeypatch):
    """The modules of the soak, which are a program and no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import judge
    import load
    import nemesis
    import resources

    class Soak:
        Resources = resources.Resources
        Promises, plan, faults = load.Promises, staticmethod(nemesis.plan), nemesis.AT_CHILDREN

        @staticmethod
        def judge(events, *, promises=None, listed=None, losses=()):
            return judge.judge(
                7, events, promises or load.Promises(), listed or {}, faults=1, losses=list(losses)
            )

    return Soak


def event(what, task, at, process="w1", **facts):
    return Event(what=what, task=task, at=at, process=process, facts=facts)


def ran(task, begin, end, process="w1", kind="work"):
    return [
        event(What.START, task, begin, process, kind=kind),
        event(What.EFFECT, task, end, process, names=[]),
        event(What.END, task, end, process, kind=kind),
    ]


ACCEPTED = event(What.ENQUEUED, "a", 1.0, "client")


def test_what_was_accepted_and_ended_is_good(soak):
    found = soak.judge([ACCEPTED, *ran("a", 2.0, 3.0)])

    assert found.good, found
    assert (found.accepted, found.finished, found.attempts, found.doubled) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("losses", "broken"), [((), ["lost"]), ([(0.5, 1.5)], []), ([(2, 9)], ["lost"])]
)
def test_what_vanished_is_lost_unless_a_replica_had_not_received_it(soak, losses, broken):
    found = soak.judge([ACCEPTED], losses=losses)

    assert list(found.broken) == broken
    assert found.excused == (not broken)


@pytest.mark.parametrize(
    ("state", "broken"),
    [("completed", []), ("active", ["stuck"]), ("quarantined", ["given up"])],
)
def test_what_is_left_is_stuck_or_given_up(soak, state, broken):
    found = soak.judge([ACCEPTED], listed={"a": state})

    assert list(found.broken) == broken


def test_what_happened_to_a_task_is_told(soak):
    lost = event(What.ENQUEUED, "s000017.2", 1.0, "client")

    found = soak.judge([ACCEPTED, *ran("a", 2.0, 3.0), lost])

    assert found.stories([ACCEPTED, lost]) == "  s000017.2 1.000 enqueued client {}"


def test_two_of_one_unique_job_at_once_are_found(soak):
    promises = soak.Promises(unique={"a": "same", "b": "same"})
    events = [*ran("a", 1.0, 3.0, "w1", "unique"), *ran("b", 2.0, 4.0, "w2", "unique")]

    assert list(soak.judge(events, promises=promises).broken) == ["two of one unique job at once"]


@pytest.mark.parametrize("what", [What.KILLED, What.REFUSED])
def test_attempts_that_a_fault_or_a_stall_cut_off_hold_no_lock(soak, what):
    promises = soak.Promises(unique={"a": "same", "b": "same"})
    events = [*ran("a", 1.0, 3.0, "w1", "unique"), *ran("b", 2.0, 4.0, "w2", "unique")]
    cut = event(what, *(("w1", 3.0) if what is What.KILLED else ("a", 3.0)))

    assert soak.judge([*events, cut], promises=promises).good


def test_more_than_the_limit_at_once_are_found(soak):
    events = [one for task in "abc" for one in ran(task, 1.0, 2.0, task, "limited")]

    assert list(soak.judge(events).broken) == ["more than the limit at once"]


def test_a_flow_out_of_order_or_unfinished_is_found(soak):
    flow = {"kind": "chain", "members": ["f.1", "f.2"], "then": None}
    promises = soak.Promises(flows={"f": flow})

    early = soak.judge([*ran("f.2", 1.0, 2.0), *ran("f.1", 3.0, 4.0)], promises=promises)
    never = soak.judge(ran("f.1", 1.0, 2.0), promises=promises)

    assert early.broken == {"flow out of order": ["f: f.2 before f.1"]}
    assert never.broken == {"flow out of order": ["f: f.2 never ended"]}


def test_members_that_are_merged_never_or_twice_are_found(soak):
    merged = [
        event(What.EFFECT, "m1", 2.0, names=["a", "b"]),
        event(What.EFFECT, "m2", 3.0, names=["b"]),
    ]
    promises = soak.Promises(members={"a": 1.0, "b": 1.0, "c": 1.0})

    found = soak.judge(merged, promises=promises)

    assert found.broken == {"member not merged": ["c", "b in 2 tasks"]}


def test_a_slot_that_is_claimed_twice_is_found(soak):
    events = [event(What.TICK, "soak@1", at, "s1") for at in (1.0, 1.1)]

    assert "slot claimed twice" in soak.judge([*events, *ran("soak@1", 2.0, 3.0)]).broken


def test_recovery_is_from_the_fault_to_the_next_attempt(soak):
    events = [
        ACCEPTED,
        event(What.START, "a", 2.0, "w1", kind="work"),
        event(What.KILLED, "w1", 2.5, "client"),
        *ran("a", 4.5, 5.0, "w2"),
    ]

    assert soak.judge(events).recovery == (2.0, 2.0)


def test_a_seed_gives_the_same_faults_again(soak):
    first, again, other = (list(islice(soak.plan(n, soak.faults), 50)) for n in (1, 1, 2))

    assert first == again != other
    assert {fault.name for fault in first} == set(soak.faults)


def looks(soak, *counts):
    """Return resources that were looked at, five seconds apart."""
    resources = soak.Resources(None)
    resources._looks = [(5.0 * at, {"connections": count}) for at, count in enumerate(counts)]
    return resources


def test_what_has_grown_beyond_its_first_third_is_told(soak):
    assert looks(soak, 3, 40, 38, 41, 39, 50).grown() == []
    assert looks(soak, 3, 40, 38, 41, 39, 80).grown() == ["connections: 40 → 80"]


def test_growth_is_that_of_an_hour(soak):
    assert looks(soak, 0, 1, 2, 3, 4, 5).slopes() == {"connections": pytest.approx(720)}
