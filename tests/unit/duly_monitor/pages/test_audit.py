async def test_the_audit_shows_who_did_what(client):
    await client.post("/monitoring/queues/default/pause")

    answer = await client.get("/monitoring/audit")

    assert answer.status_code == 200
    assert "pause queue" in answer.text
    assert "name=default" in answer.text
    assert 'href="/monitoring/api/v1/audit.csv?limit=200" download' in answer.text


async def test_an_empty_audit_says_so(client):
    assert "Nothing has been done" in (await client.get("/monitoring/audit")).text


async def test_the_audit_leads_to_older_records(client):
    for _ in range(3):
        await client.post("/monitoring/queues/default/pause")

    first = await client.get("/monitoring/audit?limit=2")

    assert 'href="?limit=2&amp;cursor=2-0"' in first.text
    second = await client.get("/monitoring/audit?limit=2&cursor=2-0")
    assert second.text.count("pause queue") == 1
    assert (await client.get("/monitoring/audit?cursor=x")).status_code == 400
