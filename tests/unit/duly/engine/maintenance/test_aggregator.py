import ast
import asyncio
import threading
from datetime import timedelta

import pytest

from duly.app.declaration import App
from duly.clock import to_ms
from duly.engine.maintenance import aggregator
from duly.engine.middleware import Middleware
from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import DuplicateTaskError, TaskIdConflictError
from duly.job import Aggregate, Job, Policy
from duly.task import AttemptOutcome, TaskState
from duly.testing.waiting import until as come


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


class Told(Middleware):
    """Notes whom the end of a member was told to."""

    def __init__(self):
        self.quarantines, self.letters = [], []

    def quarantined(self, queue, task_id, reason):
        self.quarantines.append((queue, task_id, reason))

    def dead_lettered(self, letter):
        self.letters.append(letter)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def merging(serving, mails, told):
    """Serve with a function that merges mentions."""

    async def send(job, context):
        mails.append((job.user, sorted(job.posts)))

    def serve(function=digest, **options):
        return serving({Digest: send}, merge={Mention: function}, middlewares=[told], **options)

    return serve


async def test_tasks_of_a_group_become_one(client, merging, mails, inspector, until):
    for n in range(5):
        task = await client.enqueue(Mention(post=n), group="ada")
        assert task.state is TaskState.AGGREGATING
    await client.enqueue(Mention(post=9), group="bob")

    async with merging():
        await until(lambda: len(mails) == 2)

    assert sorted(mails) == [("ada", [0, 1, 2, 3, 4]), ("bob", [9])]
    assert await inspector.groups.list("default") == []
    assert (await inspector.queues.get("default")).aggregating == 0


@pytest.mark.parametrize("is_returned", [False, True])
async def test_the_function_may_be_a_coroutine(client, merging, mails, until, is_returned):
    async def merge(mentions, user):
        return digest(mentions, user)

    def returns(mentions, user):
        return merge(mentions, user)

    await client.enqueue(Mention(post=1), group="ada")
    async with merging(returns if is_returned else merge):
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
async def test_after_five_tries_the_members_are_archived_with_the_reason(  # noqa: PLR0917
    client, merging, inspector, until, told, made
):
    task = await client.enqueue(Mention(post=1), group="ada", unique_for=timedelta(hours=1))

    async with merging(lambda *_: made):

        async def archived():
            return (await inspector.queues.get("default")).archived == 1

        await until(archived)
        await until(lambda: told.letters)
    found = await inspector.tasks.get("default", task.id)
    assert found.state is TaskState.ARCHIVED
    assert "group mention:ada was not merged: TypeError" in found.history[0].error
    (letter,) = told.letters
    assert (letter.task_id, letter.kind, letter.state) == (task.id, "mention", found.state)
    assert (letter.reason, letter.attempted) == (found.history[0].error, False)
    await client.enqueue(Mention(post=1), group="ada", unique_for=timedelta(hours=1))


@pytest.mark.usefixtures("impatient")
async def test_a_member_that_leaves_at_the_last_moment_is_not_told_of(
    client, merging, inspector, until, told
):
    leaves, stays = [
        await client.enqueue(Mention(post=post), group="ada", task_id=str(post))
        for post in range(2)
    ]
    tries = []

    async def merge(mentions, user):
        tries.append(user)
        if len(tries) == 5:
            await inspector.tasks.delete("default", leaves.id)
        raise ValueError("no")

    async with merging(merge):
        await until(lambda: told.letters)

    assert [letter.task_id for letter in told.letters] == [stays.id]


async def test_groups_and_their_members_are_shown(client, inspector):
    tasks = [await client.enqueue(Slow(post=n), group="a b:ä") for n in range(3)]

    (group,) = await inspector.groups.list("default")
    page = await inspector.tasks.list("default", TaskState.AGGREGATING)

    assert (group.kind, group.name, group.size, group.tries) == ("slow", "a b:ä", 3, 0)
    assert timedelta(seconds=55) < group.due - group.oldest <= timedelta(seconds=61)
    members = await inspector.groups.members("default", "slow", "a b:ä")
    assert sorted(members) == sorted(task.id for task in tasks)
    assert {task.id for task in page.tasks} == set(members)
    assert (await inspector.queues.get("default")).aggregating == 3


async def test_a_member_may_be_run_archived_or_deleted(client, inspector):
    one, two, three = [await client.enqueue(Slow(post=n), group="g") for n in range(3)]

    await inspector.tasks.run("default", one.id)
    await inspector.tasks.archive("default", two.id)
    await inspector.tasks.delete("default", three.id)

    report = await inspector.queues.get("default")
    assert (report.waiting, report.archived, report.aggregating) == (1, 1, 0)
    assert await inspector.groups.list("default") == []


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
            return [group.kind for group in await inspector.groups.list("default")] == ["mention"]

        await until(merged)


async def test_the_example_of_the_documents_runs(client, serving, until, documented):
    """docs/adding-a-job.md, section 5, with less patience."""

    class SendDigest(Job, kind="send_digest"):
        user: str
        posts: list[int]

    sent = []

    async def send(job, context):
        sent.append(job)

    app = App("shop")
    names = {
        "Job": Job, "Policy": Policy, "Aggregate": Aggregate, "timedelta": timedelta,
        "SendDigest": SendDigest, "app": app, "__name__": "docs",
    }  # fmt: skip
    for block in documented("docs/adding-a-job.md", "Merging many tasks into one"):
        quick = block.replace("seconds=30", "seconds=0")
        code = compile(quick, "docs", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with app.clients.using(client):
            await eval(code, names)
    async with serving({SendDigest: send}, merge=app.mergers):
        await until(lambda: sent == [SendDigest(user="ada", posts=[7])])


class ForeignError(BaseException):
    """Neither an Exception nor one of those by which Python itself ends loops."""


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "coroutine"])
@pytest.mark.parametrize(
    "error",
    [ForeignError(), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.usefixtures("impatient")
async def test_whatever_a_function_raises_other_groups_are_merged(  # noqa: PLR0917
    client, merging, mails, inspector, until, error, plain
):
    def merge(mentions, user):
        if user == "ada":
            raise error
        return digest(mentions, user)

    async def merge_later(mentions, user):
        return merge(mentions, user)

    bad = await client.enqueue(Mention(post=1), group="ada")
    async with merging(merge if plain else merge_later) as server:

        async def archived():
            return (await inspector.queues.get("default")).archived == 1

        await until(archived)
        await client.enqueue(Mention(post=2), group="bob")
        await until(lambda: mails == [("bob", [2])])
        assert server.liveness() is None
    (attempt,) = (await inspector.tasks.get("default", bad.id)).history
    assert attempt.error == f"group mention:ada was not merged: {type(error).__name__}"


async def test_a_function_that_blocks_does_not_keep_a_server_from_stopping(  # noqa: PLR0917
    client, merging, mails, inspector, until, stopwatch
):
    begun, release = threading.Event(), threading.Event()

    def merge(mentions, user):
        begun.set()
        release.wait(60)
        return digest(mentions, user)

    try:
        await client.enqueue(Mention(post=1), group="ada")
        async with merging(merge, drain=timedelta(seconds=1)):
            await until(begun.is_set)
            counted = stopwatch()
        assert stopwatch() - counted < 5

        (group,) = await inspector.groups.list("default")
        assert group.size == 1
        async with merging():  # without waiting for the claim to end
            await until(lambda: mails == [("ada", [1])])
    finally:
        release.set()


@pytest.mark.fault("merging")
async def test_a_claim_lasts_as_long_as_the_function_runs(  # noqa: PLR0917
    client, merging, mails, store, until, monkeypatch
):
    monkeypatch.setattr(aggregator, "_HOLD", timedelta(seconds=6))
    release, begun = asyncio.Event(), []

    async def merge(mentions, user):
        begun.append(user)
        await release.wait()
        return digest(mentions, user)

    for user in ("ada", "bob"):
        await client.enqueue(Mention(post=1), group=user)
    groups = queue_keys("default").groups

    async def due():
        found = await store.connection.command("ZRANGE", groups, 0, -1, "WITHSCORES")
        return min(float(score) for score in found[1::2])

    async with merging(merge), merging(merge):
        await until(lambda: begun)
        first = await due()
        for _ in range(3):
            before = await due()
            await until(lambda before=before: later(due, before))
        assert await due() > first + 1_000
        assert len(begun) == 1, "nobody else has claimed either of them"
        release.set()
        await until(lambda: len(mails) == 2)
    assert sorted(begun) == ["ada", "bob"]


async def later(due, before):
    return await due() > before


@pytest.mark.fault("merging")
@pytest.mark.slow
async def test_the_group_of_a_server_that_died_is_merged_within_ten_seconds(
    client, merging, mails, store, until
):
    await client.enqueue(Mention(post=1), group="ada")
    keys, before = queue_keys("default"), store.now_ms()
    await store.run(
        scripts.group_claim(keys, ["mention"], token="dead", hold_ms=to_ms(aggregator._HOLD))
    )
    (_, due) = await store.connection.command("ZRANGE", keys.groups, 0, -1, "WITHSCORES")
    assert float(due) <= before + 11_000

    async with merging():
        await until(lambda: mails == [("ada", [1])])


async def test_groups_of_kinds_that_nobody_merges_keep_back_no_others(
    client, merging, mails, store, until
):
    keys = queue_keys("default")
    foreign = [part for number in range(10_500) for part in (number, f"fax:{number}")]
    await store.connection.command("ZADD", keys.groups, *foreign)
    await client.enqueue(Mention(post=1), group="ada")

    async with merging():
        await until(lambda: mails == [("ada", [1])])


@pytest.fixture
def spoil(client, store):
    """Enqueue a mention, and put something else in the place of its record; return its id."""

    async def spoiling(change, group):
        odd = await client.enqueue(Mention(post=1), group=group)
        records = queue_keys("default").records
        data = await store.connection.command("HGET", records, odd.id)
        await store.connection.command("HSET", records, odd.id, change(data))
        return odd.id

    return spoiling


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda data: data.replace(b'"post":1', b'"post":1,"old":2'), id="a field more"
        ),
        pytest.param(lambda data: data.replace(b'"post":1', b'"post":"x"'), id="another type"),
        pytest.param(lambda _: b"null", id="null"),
        pytest.param(lambda _: b"\xff", id="no JSON"),
    ],
)
async def test_members_that_cannot_be_read_are_quarantined_and_the_others_are_merged(  # noqa: PLR0917
    spoil, merging, mails, inspector, told, change
):
    odd = await spoil(change, "ada")
    await spoil(lambda data: data.replace(b'"post":1', b'"post":2'), "ada")
    await spoil(change, "alone")

    async with merging():
        await come(lambda: mails == [("ada", [2])])
        await come(lambda: merged(inspector))
        await come(lambda: len(told.letters) == 2)

    task = await inspector.tasks.get("default", odd)
    assert task.state is TaskState.QUARANTINED
    assert task.history[0].outcome is AttemptOutcome.QUARANTINED
    assert await inspector.groups.list("default") == []
    assert ("default", odd, task.history[0].error) in told.quarantines
    assert len(told.quarantines) == 2
    assert {letter.task_id for letter in told.letters} == {
        task_id for _, task_id, _ in told.quarantines
    }
    assert {letter.state for letter in told.letters} == {TaskState.QUARANTINED}


async def merged(inspector):
    report = await inspector.queues.get("default")
    return (report.aggregating, report.archived, report.quarantined) == (0, 0, 2)


async def test_a_group_whose_name_is_no_text_keeps_back_no_others(
    client, merging, mails, store, until
):
    keys, name, now = queue_keys("default"), b"mention:\xff", b"0000000000001"
    await store.connection.command("ZADD", keys.groups, 1, name)
    await store.connection.command("ZADD", keys.members, 0, name + b"\n" + now + b"\nodd")
    await store.connection.command("ZADD", keys.aggregating, 1, "odd")
    await client.enqueue(Mention(post=1), group="ada")

    async with merging():
        await until(lambda: mails == [("ada", [1])])
