"""What the answers tell, and what they hide."""

API = "/monitoring/api/v1"


async def test_task_tells_its_operations_and_masks_secrets(client):
    task = (await client.get(f"{API}/tasks/a1b2c3d4e5f60718")).json()

    assert task["operations"] == ["run", "delete"]
    assert task["payload"]["customer_email"] == task["labels"]["password"] == "••••••"
    assert task["payload"]["invoice_id"] == 9_007_199_254_740_993
    assert task["history"][0]["duration_seconds"] == 0.84
