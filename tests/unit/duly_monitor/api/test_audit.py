API = "/monitoring/api/v1"


async def test_the_audit_is_listed_and_exported(client):
    await client.post(f"{API}/queues/default/pause")

    (record,) = (await client.get(f"{API}/audit")).json()["records"]
    table = await client.get(f"{API}/audit.csv")

    assert (record["action"], record["result"]) == ("pause_queue", "done")
    assert table.headers["Content-Type"].startswith("text/csv")
    assert "pause_queue" in table.text


async def test_a_foreign_cursor_is_a_bad_request(client):
    assert (await client.get(f"{API}/audit?cursor=x")).status_code == 400
