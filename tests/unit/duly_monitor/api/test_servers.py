"""The servers as JSON, and as a page."""


async def test_running_tasks_tell_their_progress_and_whether_they_are_stuck(client):
    (first, second) = (await client.get("/monitoring/api/v1/servers")).json()["servers"][0][
        "running"
    ]

    assert first["progress"] == {"fraction": 0.4, "note": "rows 400 of 1000"}
    assert not first["stuck"]
    assert second["progress"] is None
    assert second["stuck"]


async def test_the_page_shows_them_too(client):
    page = (await client.get("/monitoring/servers")).text

    assert "40 %" in page
    assert "rows 400 of 1000" in page
    assert page.count(">stuck<") == 1
