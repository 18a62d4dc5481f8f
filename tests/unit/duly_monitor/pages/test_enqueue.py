"""The form to enqueue a task."""

import re

from duly.errors import QueueFullError


async def test_the_form_has_the_fields_of_the_kind(client):
    text = (await client.get("/monitoring/queues/low/enqueue")).text

    assert re.findall(r'name="field\.(\w+)"', text) == ["order_id", "total"]
    assert 'placeholder="0.00"' in text
    assert "Send the invoice of one order." in text


async def test_what_was_typed_is_enqueued_once(client, producer, inspector):
    form = (await client.get("/monitoring/queues/low/enqueue")).text
    task_id = re.search(r'name="task_id" value="([^"]+)"', form)[1]
    typed = {"kind": "send_invoice", "field.order_id": "7", "delay": "5m", "task_id": task_id}

    answer = await client.post("/monitoring/queues/low/enqueue", data=typed)

    ((job, queue, options),) = producer.enqueued
    assert (job.kind, queue) == ("send_invoice", "low")
    assert (options["task_id"], options["delay"].total_seconds()) == (task_id, 300)
    assert answer.headers["Location"] == f"/monitoring/tasks/low/{task_id}?done=enqueue"
    assert inspector.audited[-1].filter == "kind:send_invoice"


async def test_what_does_not_fit_is_said_and_kept(client, producer):
    async def refused(**typed):
        answer = await client.post(
            "/monitoring/queues/low/enqueue", data={"kind": "send_invoice", **typed}
        )
        assert answer.status_code == 400
        return answer.text

    text = await refused(**{"field.order_id": "seven", "field.total": "1.50"})
    late = await refused(**{"field.order_id": "7", "delay": "soon"})
    infinite = await refused(**{"field.order_id": "1e400"})
    producer.refuses = QueueFullError("low", 10)
    full = await refused(**{"field.order_id": "7"})

    assert "Order_id: type a whole number" in text
    assert 'value="seven"' in text
    assert 'value="1.50"' in text
    assert "type a duration" in late
    assert "order_id" in infinite
    assert "is not a finite number" in infinite
    assert "low" in full
    assert producer.enqueued == []


async def test_an_unknown_kind_or_queue_is_a_404(client):
    kind = await client.post("/monitoring/queues/low/enqueue", data={"kind": "nothing"})
    queue = await client.get("/monitoring/queues/none/enqueue")

    assert (kind.status_code, queue.status_code) == (404, 404)
