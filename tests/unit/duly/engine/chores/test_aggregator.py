import ast
from datetime import timedelta

import pytest

from duly.engine.chores import aggregator
from duly.engine.keys import queue_keys
from duly.engine.store import Store
from duly.errors import DuplicateTaskError, TaskIdConflictError
from duly.job import Aggregate, Job, Policy
from duly.task import TaskState


class Mention(
    Job,
    kind="mention",
    policy=Policy(aggregate=Aggregate(grace=timedelta(0), max_size=1_000)),
):
    post: int


class Slow(Job, kind="slow"):
    post: int = 0


class Digest(Job, kind="digest"):
    user: str
    posts: list[int]


def digest(mentions, user):
    return Digest(user=user, posts=[mention.post for mention in mentions])


@pytest.fixture
def mails():
    return []


@pytest.fixture
def merging(serving, mails):
    """Serve with a function that merges mentions."""

    async def send(job, context):
        mails.append((job.user, sorted(job.posts)))

    def serve(function=digest, **options):
        return serving({Digest: send}, merge={Mention: function}, **options)

    return serve


async def test_tasks_of_a_group_become_one(client, merging, mails, inspector, until):
    for n in range(5):
        task = await client.enqueue(Mention(post=n), group="ada")
        assert task.state is TaskState.AGGREGATING
    await client.enqueue(Mention(post=9), group="bob")

    async with merging():
        await until(lambda: len(mails) == 2)

    assert sorted(mails) == [("ada", [0, 1, 2, 3, 4]), ("bob", [9])]
    assert await inspector.groups("default") == []
    assert (await inspector.queue("default")).aggregating == 0


async def test_the_function_may_be_a_coroutine(client, merging, mails, until):
    async def merge(mentions, user):
        return digest(mentions, user)

    await client.enqueue(Mention(post=1), group="ada")
    async with merging(merge):
        await until(lambda: mails == [("ada", [1])])


async def test_a_delayed_member_joins_later(client, merging, mails, until):
    await client.enqueue(Mention(post=1), group="ada", delay=timedelta(milliseconds=50))

    async with merging():
        await until(lambda: mails == [("ada", [1])])


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(aggregator, "_FIRST_WAIT", timedelta(0))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
@pytest.mark.usefixtures("impatient")
async def test_a_function_that_raises_is_tried_again_and_ends_nothing(
    client, merging, mails, until, error
):
    """asynq X10: there the process ends."""
    tries = []

    def merge(mentions, user):
        tries.append(user)
        if len(tries) < 3:
            raise error
        return digest(mentions, user)

    await client.enqueue(Mention(post=1), group="ada")
    async with merging(merge):
        await until(lambda: mails == [("ada", [1])])

    assert len(tries) == 3


@pytest.mark.parametrize("made", [None, "not a job"])
@pytest.mark.usefixtures("impatient")
async def test_after_five_tries_the_members_are_archived_with_the_reason(
    client, merging, inspector, until, made
):
    task = await client.enqueue(Mention(post=1), group="ada", unique_for=timedelta(hours=1))

    async with merging(lambda *_: made):

        async def archived():
            return (await inspector.queue("default")).archived == 1

        await until(archived)
    found = await inspector.task("default", task.id)
    assert found.state is TaskState.ARCHIVED
    assert "group mention:ada was not merged: TypeError" in found.history[0].error
    await client.enqueue(Mention(post=1), group="ada", unique_for=timedelta(hours=1))


async def test_groups_and_their_members_are_shown(client, inspector):
    tasks = [await client.enqueue(Slow(post=n), group="a b:ä") for n in range(3)]

    (group,) = await inspector.groups("default")
    page = await inspector.tasks("default", TaskState.AGGREGATING)

    assert (group.kind, group.name, group.size, group.tries) == ("slow", "a b:ä", 3, 0)
    assert timedelta(seconds=55) < group.due - group.oldest <= timedelta(seconds=61)
    members = await inspector.group_members("default", "slow", "a b:ä")
    assert sorted(members) == sorted(task.id for task in tasks)
    assert {task.id for task in page.tasks} == set(members)
    assert (await inspector.queue("default")).aggregating == 3


async def test_a_member_may_be_run_archived_or_deleted(client, inspector):
    one, two, three = [await client.enqueue(Slow(post=n), group="g") for n in range(3)]

    await inspector.run("default", one.id)
    await inspector.archive("default", two.id)
    await inspector.delete("default", three.id)

    report = await inspector.queue("default")
    assert (report.waiting, report.archived, report.aggregating) == (1, 1, 0)
    assert await inspector.groups("default") == []


async def test_refusals_are_those_of_any_task(client):
    options = {"group": "g", "unique_for": timedelta(hours=1)}
    await client.enqueue(Slow(), task_id="s", **options)

    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Slow(), **options)
    with pytest.raises(TaskIdConflictError):
        await client.enqueue(Slow(post=1), task_id="s", group="g")
    for name in ("", "a\nb", "x" * 129):
        with pytest.raises(ValueError, match="group"):
            await client.enqueue(Slow(), group=name)


async def test_a_server_without_the_function_leaves_a_group_alone(
    client, serving, inspector, broker_settings, until
):
    await client.enqueue(Mention(post=1), group="ada")

    async with serving({}, merge={Slow: digest}), Store.open(broker_settings) as store:
        await client.enqueue(Slow(post=1), group="x")
        await store.connection.command("ZADD", queue_keys("default").groups, 1, "slow:x")

        async def merged():
            return [group.kind for group in await inspector.groups("default")] == ["mention"]

        await until(merged)


async def test_the_example_of_the_documents_runs(client, serving, until, documented):
    """docs/adding-a-job.md, section 5, with less patience."""

    class SendDigest(Job, kind="send_digest"):
        user: str
        posts: list[int]

    class Registrar:
        def aggregate(self, job, function):
            self.job, self.function = job, function

    sent = []

    async def send(job, context):
        sent.append(job)

    registrar = Registrar()
    names = {
        "Job": Job, "Policy": Policy, "Aggregate": Aggregate, "timedelta": timedelta,
        "SendDigest": SendDigest, "server": registrar, "client": client, "__name__": "docs",
    }  # fmt: skip
    for block in documented("docs/adding-a-job.md", "Many merged into one"):
        quick = block.replace("seconds=30", "seconds=0")
        code = compile(quick, "docs", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await eval(code, names)
    async with serving({SendDigest: send}, merge={registrar.job: registrar.function}):
        await until(lambda: sent == [SendDigest(user="ada", posts=[7])])
