"""`duly schedules`."""


def test_listing_shows_what_became_of_the_last_tick(duly):
    out = duly("schedules", "ls").out

    assert "check-pending-orders" in out
    assert "every 5 seconds" in out
    assert "skipped" in out


def test_history_shows_slot_outcome_and_delay(duly):
    out = duly("schedules", "history", "check-pending-orders").out

    assert "2026-01-02 12:00:00Z enqueued  3ms t-1" in out


def test_history_as_json(duly):
    ticks = duly("schedules", "history", "check-pending-orders", "--json").json["ticks"]

    assert ticks == [
        {
            "entry": "check-pending-orders",
            "slot": "2026-01-02T12:00:00+00:00",
            "outcome": "enqueued",
            "task_id": "t-1",
            "at": "2026-01-02T12:00:00.003000+00:00",
        }
    ]


def test_misspelt_entry_gets_a_suggestion(duly):
    outcome = duly("schedules", "history", "check-pending-order")

    assert outcome.exit_code == 1
    assert "(did you mean 'check-pending-orders'?)" in outcome.err


def test_inspecting_tells_every_fact_and_the_next_five_slots(duly):
    out = duly("schedules", "inspect", "check-pending-orders").out

    assert "job        check_pending_orders {}" in out
    assert "due        every 5 seconds" in out
    assert "overlap    skip" in out
    assert "next       overdue" in out
    assert "  2026-01-02 12:00:20Z" in out


def test_inspecting_as_json(duly):
    entry = duly("schedules", "inspect", "check-pending-orders", "--json").json

    assert entry["description"] == "every 5 seconds"
    assert len(entry["next_slots"]) == 5


def test_inspecting_a_misspelt_entry_gets_a_suggestion(duly):
    outcome = duly("schedules", "inspect", "check-pending-order")

    assert outcome.exit_code == 1
    assert "(did you mean 'check-pending-orders'?)" in outcome.err
