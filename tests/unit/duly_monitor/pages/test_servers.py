"""The workers as a page."""

import pytest

SERVER = "worker-mixed-58b7-q1zzv:1:4be2"


@pytest.mark.parametrize("operation", ["quiet", "resume", "stop"])
async def test_a_worker_is_told(client, inspector, operation):
    answer = await client.post(f"/monitoring/servers/{SERVER}/{operation}")

    assert inspector.noted == [(operation, SERVER)]
    assert answer.status_code == 303
    assert 'id="flash"' in (await client.get(answer.headers["Location"])).text
    assert [record.action for record in inspector.audited] == [f"{operation}_server"]


async def test_a_lost_worker_has_no_slots_and_takes_no_commands(client):
    page = (await client.get("/monitoring/servers")).text

    lost = page[page.index("worker-low-7c44-m0aaa") : page.index("</main>")]
    assert "gone; its tasks run elsewhere" in lost
    assert "of 1 slot" not in lost
    assert "<form" not in lost
