"""The names of queues; who paused one, and why."""

from duly.job import Job, Policy


class Note(Job, kind="note", policy=Policy(queue="low")):
    pass


async def test_a_pause_says_who_and_why_until_it_ends(client, inspector):
    await client.enqueue(Note())
    await inspector.queues.pause("low", by="ann", reason="the gateway is down")
    await inspector.queues.pause("low")
    paused = await inspector.queues.get("low")

    await inspector.queues.resume("low")
    resumed = await inspector.queues.get("low")
    await inspector.queues.pause("low")
    again = await inspector.queues.get("low")

    assert (paused.paused_by, paused.pause_reason) == ("ann", "the gateway is down")
    assert (resumed.paused_since, resumed.paused_by, resumed.pause_reason) == (None, "", "")
    assert again.paused_since is not None
    assert (again.paused_by, again.pause_reason) == ("", "")


async def test_the_names_of_all_queues_are_sorted(client, inspector):
    await client.enqueue(Note())
    await client.enqueue(Note(), queue="critical")

    assert list(await inspector.queues.names()) == ["critical", "low"]
