"""Causes and searches, by a script."""

import pytest

API = "/monitoring/api/v1"


async def test_failures_are_grouped_by_cause(client):
    body = (await client.get(f"{API}/failures")).json()

    assert body["groups"][0]["count"] >= 1
    assert {group["kind"] for group in body["groups"]} >= {"send_invoice", "import_feed"}


async def test_a_search_finds_tasks(client):
    body = (await client.get(f"{API}/search", params={"q": "state:archived error:502"})).json()

    assert [task["id"] for task in body["tasks"]] == ["a1b2c3d4e5f60718"]
    assert "ada@example.org" not in str(body)


async def test_a_search_goes_on_where_it_has_come_to(client):
    seen, cursor = [], None
    while True:
        params = {"q": "state:waiting", "limit": 7, **({"cursor": cursor} if cursor else {})}
        body = (await client.get(f"{API}/search", params=params)).json()
        seen += [task["id"] for task in body["tasks"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) >= 40
    for wrong in ("x", "waiting/", "waiting/default"):
        answer = await client.get(f"{API}/search", params={"cursor": wrong})
        assert answer.status_code == 400


async def test_failures_are_of_one_queue_and_a_page_of_many(client):
    of_low = (await client.get(f"{API}/failures", params={"queue": "low"})).json()
    first = (await client.get(f"{API}/failures", params={"limit": 1})).json()
    rest = await client.get(f"{API}/failures", params={"cursor": first["next_cursor"]})

    assert {queue for group in of_low["groups"] for queue in group["queues"]} <= {"low"}
    causes = [group["cause"] for group in (*first["groups"], *rest.json()["groups"])]
    assert len(causes) == len(set(causes)) >= 2
    assert (await client.get(f"{API}/failures?queue=none")).status_code == 404


async def test_a_search_by_id_finds_the_task(client):
    found = await client.get(f"{API}/search", params={"q": "id:a1b2c3d4e5f60718"})

    assert len(found.json()["tasks"]) == 1


@pytest.mark.parametrize("more", ["state:retry", "queue:low", "kind:other", "since:1m"])
async def test_a_search_by_id_asks_for_all_other_words_too(client, more):
    words = f"id:a1b2c3d4e5f60718 {more}"

    answer = await client.get(f"{API}/search", params={"q": words})

    assert (answer.status_code, answer.json()["tasks"]) == (200, [])


async def test_a_search_that_cannot_be_understood_says_why(client):
    answer = await client.get(f"{API}/search", params={"q": "nokey:x"})

    assert answer.status_code == 400
    assert "nokey" in answer.json()["detail"]


async def test_tables_hold_no_formulas(client, inspector):
    inspector.held[0] = inspector.held[0].__class__(
        **{
            name: getattr(inspector.held[0], name)
            for name in ("id", "queue", "state", "history", "ended_at", "payload")
        },
        kind="=cmd()",
    )

    found = await client.get(f"{API}/search.csv", params={"q": "state:archived"})
    groups = await client.get(f"{API}/failures.csv")

    assert ",'=cmd()," in found.text
    assert "attachment" in groups.headers["Content-Disposition"]
