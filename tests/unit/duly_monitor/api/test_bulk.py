"""Many tasks at once, by a script."""

import pytest

API = "/monitoring/api/v1"


async def test_a_dry_run_counts_and_changes_nothing(client, inspector):
    held = list(inspector.held)

    answer = await client.post(f"{API}/bulk", json={"operation": "run", "q": "state:archived"})

    assert answer.status_code == 200
    assert (answer.json()["eligible"], answer.json()["bulk_id"]) == (3, None)
    assert inspector.held == held


async def test_an_order_is_recorded_and_shown(client, inspector):
    body = {
        "operation": "delete", "q": "state:archived", "dry_run": False, "reason": "old",
    }  # fmt: skip
    begun = (await client.post(f"{API}/bulk", json=body)).json()

    shown = await client.get(f"{API}/bulk/{begun['bulk_id']}")

    assert shown.json()["operation"] == "delete"
    assert shown.json()["total"] == begun["eligible"] == 3
    record = inspector.audited[-1]
    assert (record.action, record.result, record.count, record.filter, record.reason) == (
        "delete_tasks", "started", 3, "state:archived", "old",
    )  # fmt: skip
    stopped = await client.post(f"{API}/bulk/{begun['bulk_id']}/stop")
    assert stopped.status_code == 200
    assert len((await client.get(f"{API}/bulk")).json()["runs"]) == 1


async def test_a_secret_that_is_looked_for_is_not_recorded(client, inspector):
    body = {"operation": "run", "q": 'error:"token=hunter2"', "dry_run": False}

    begun = (await client.post(f"{API}/bulk", json=body)).json()
    await client.post("/monitoring/bulk", data={"operation": "run", "q": body["q"]})

    shown = (await client.get(f"{API}/bulk/{begun['bulk_id']}")).json()
    assert "hunter2" not in shown["selection"]
    assert [record.filter.partition("=")[0] for record in inspector.audited] == ['error:"token'] * 2
    assert not any("hunter2" in record.filter for record in inspector.audited)


async def test_chosen_tasks_are_operated_on(client, inspector):
    chosen = [
        {"id": "a1b2c3d4e5f60718"}, {"id": "a1b2c3d4e5f60718"},
        {"id": "beef000000000000", "queue": "default"}, {"id": "gone"},
    ]  # fmt: skip
    body = {"operation": "run", "tasks": chosen, "dry_run": False, "reason": "mended"}

    answer = (await client.post(f"{API}/bulk", json=body)).json()

    assert (answer["eligible"], answer["ineligible"], answer["total"]) == (1, 2, 3)
    shown = (await client.get(f"{API}/bulk/{answer['bulk_id']}")).json()
    assert (shown["selection"], shown["total"]) == ("4 selected", 1)
    record = inspector.audited[-1]
    assert (record.action, record.count, record.filter) == ("run_tasks", 1, "4 selected")
    assert record.tasks == ("default/a1b2c3d4e5f60718",)


@pytest.mark.parametrize(("number", "status"), [(5, 200), (5.0, 200), (5.5, 400), ("5", 400)])
async def test_a_whole_number_is_one_however_it_is_written(client, number, status):
    body = {"operation": "run", "q": "state:archived", "per_second": number}

    assert (await client.post(f"{API}/bulk", json=body)).status_code == status


async def test_tasks_are_named_by_a_search_or_one_by_one_not_both(client):
    for more in ({}, {"q": "state:archived", "tasks": [{"id": "x"}]}, {"tasks": []}):
        answer = await client.post(f"{API}/bulk", json={"operation": "run", **more})
        assert answer.status_code == 400, more


async def test_an_id_is_one_condition_of_several(client):
    body = {"operation": "run", "q": "id:a1b2c3d4e5f60718"}
    there = await client.post(f"{API}/bulk", json=body)
    elsewhere = await client.post(f"{API}/bulk", json={**body, "q": f"{body['q']} queue:low"})

    assert [each.json()["eligible"] for each in (there, elsewhere)] == [1, 0]


@pytest.mark.parametrize("words", ["", "  ", "nokey:x", "state:odd"])
async def test_what_names_no_tasks_is_refused(client, words):
    body = {"operation": "run", "q": words, "dry_run": False}

    assert (await client.post(f"{API}/bulk", json=body)).status_code == 400


async def test_each_operation_takes_its_permission(connect):
    async with connect(role="viewer") as client:
        body = {"operation": "delete", "q": "state:archived"}
        answer = await client.post(f"{API}/bulk", json=body)

    assert answer.status_code == 403
    assert "delete-tasks" in answer.text
