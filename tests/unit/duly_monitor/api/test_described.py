"""Tags of answers."""

API = "/monitoring/api/v1"


async def test_who_has_an_answer_is_told_that_it_is_the_same(client):
    first = await client.get(f"{API}/kinds")
    tag = first.headers["ETag"]

    again = await client.get(f"{API}/kinds", headers={"If-None-Match": f'"x", W/{tag}'})
    other = await client.get(f"{API}/kinds", headers={"If-None-Match": '"x"'})

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200
    assert first.headers["Cache-Control"] == "no-store"  # by caches; a program may keep it
