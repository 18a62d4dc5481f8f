"""The checker finds what was lost, doubled or late; and nothing else."""

from datetime import timedelta

import pytest

from duly.testing.history import Event, History, What, read, verdict


def event(what, task="a", at=0.0, process="w1", **facts):
    return Event(what=what, task=task, at=at, process=process, facts=facts)


GOOD = [
    event(What.ENQUEUED, at=1),
    event(What.START, at=2),
    event(What.EFFECT, at=3),
    event(What.END, at=4),
]


def test_written_events_are_read_back_by_time(tmp_path, frozen_clock):
    with (
        History(tmp_path, process="w1", clock=frozen_clock) as one,
        History(tmp_path, process="w2", clock=frozen_clock) as two,
    ):
        one.add(What.START, "a", attempt=1)
        frozen_clock.advance(1)
        two.add(What.END, "a")
        frozen_clock.advance(1)
        one.add(What.REFUSED, "a")

    assert [(e.what, e.process) for e in read(tmp_path)] == [
        (What.START, "w1"),
        (What.END, "w2"),
        (What.REFUSED, "w1"),
    ]
    assert read(tmp_path)[0].facts == {"attempt": 1}


@pytest.mark.parametrize("synced", [True, False])
def test_an_event_can_be_read_when_add_returns(tmp_path, synced):
    with History(tmp_path, process="w1", synced=synced) as history:
        history.add(What.START, "a")

        assert [e.task for e in read(tmp_path)] == ["a"]


def test_closing_again_closes_no_other_file(tmp_path):
    history = History(tmp_path)
    history.close()
    with (tmp_path / "other").open("w") as other:
        history.close()

        other.write("still open")


def test_line_cut_short_by_a_kill_is_left_out(tmp_path):
    with History(tmp_path, process="w1") as history:
        history.add(What.START, "a")
    with (tmp_path / "w1.jsonl").open("a") as file:
        file.write('{"what": "end", "ta')

    assert [event.what for event in read(tmp_path)] == [What.START]


def test_good_run_is_good():
    judged = verdict(GOOD)

    assert judged.good
    assert str(judged).startswith("GOOD: 1 accepted, 1 finished")


@pytest.mark.parametrize(
    ("events", "broken"),
    [
        pytest.param([event(What.ENQUEUED)], "lost", id="lost"),
        pytest.param([*GOOD, event(What.EFFECT, at=5)], "doubled", id="doubled"),
        pytest.param(
            [event(What.ENQUEUED), event(What.START, at=99), event(What.END, at=99)],
            "late",
            id="late pick-up",
        ),
        pytest.param(
            [
                event(What.ENQUEUED),
                event(What.START, at=1),
                event(What.KILLED, "w1", at=2),
                event(What.START, at=99, process="w2"),
                event(What.END, at=99, process="w2"),
            ],
            "late",
            id="late recovery",
        ),
        pytest.param([event(What.START), event(What.END)], "unexpected", id="unexpected"),
        pytest.param(
            [event(What.TICK, "check@5"), event(What.TICK, "check@5", process="s2")],
            "doubled_ticks",
            id="doubled tick",
        ),
    ],
)
def test_broken_promise_is_named(events, broken):
    judged = verdict(events, longest=timedelta(seconds=15))

    assert not judged.good
    assert getattr(judged, broken)
    assert f"  {broken} (1): " in str(judged)


def test_task_that_is_still_listed_is_not_lost():
    assert verdict([event(What.ENQUEUED)], still_listed=["a"]).good


def test_uncertain_task_may_run_or_not():
    assert verdict([event(What.UNCERTAIN)]).good
    assert verdict([event(What.UNCERTAIN), *GOOD[1:]]).good


def test_recovery_within_the_limit_is_good_and_measured():
    judged = verdict(
        [
            event(What.ENQUEUED, at=0),
            event(What.START, at=1),
            event(What.KILLED, "w1", at=2),
            event(What.START, at=12, process="w2"),
            event(What.END, at=13, process="w2"),
        ],
        longest=timedelta(seconds=15),
    )

    assert judged.good
    assert (judged.longest_wait, judged.recoveries) == (10, (10,))
