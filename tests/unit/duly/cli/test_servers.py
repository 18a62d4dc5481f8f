"""`duly servers`."""


def test_listing_shows_load_and_weights(duly):
    out = duly("servers", "ls").out

    assert "1/4" in out
    assert "default, low=3" in out


def test_json_has_the_running_tasks(duly):
    server = duly("servers", "ls", "--json").json["servers"][0]

    assert server["status"] == "running"
    assert server["running"][0]["queue"] == "low"


def test_a_stuck_task_is_seen_at_a_glance(duly):
    assert "1/4 (1 stuck)" in duly("servers", "ls").out
