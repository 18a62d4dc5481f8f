"""Every command of the pages for operators works for the toolbox, the broker's user monitor."""

import asyncio
import io
import itertools
import re
import shlex
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from duly import Aggregate, Client, Inspector, Job, Policy, Server, ServerOptions, TaskState
from duly.cli.main import main
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.storage.roles import ROLES
from duly.engine.storage.store import Store
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "deploy/helm/duly/files/valkey"
PAGES = ("docs/operating.md", "docs/install.md", "docs/security.md")
PASSWORD = "open-sesame"
FRAGMENTS = {"duly acl", "duly tasks enqueue --create-queue"}
"""Names of commands and options in running text: not to be typed like this."""
DIAGNOSES = {"duly doctor"}
"""Ends with 1, as it should: many queues of this world have no worker."""


class Invoice(Job, kind="send_invoice", policy=Policy(queue="low")):
    order_id: int
    total: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()


class Mention(Job, kind="mention", policy=Policy(aggregate=Aggregate(grace=timedelta(hours=1)))):
    pass


class Failing(Job, kind="failing", policy=Policy(max_attempts=1)):
    field: str = ""


class Terminal(io.StringIO):
    """A person who says yes."""

    def isatty(self):
        return True


def commands():
    """Give the commands of the pages, each once, without a prompt or what runs them in a pod."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^ {4,}(.*\bduly .*)$", text, re.MULTILINE)
        spans = re.findall(r"`(duly [^`]+)`", re.sub(r"^ {4}.*\n", "", text, flags=re.MULTILINE))
        lines = (re.sub(r"\s#.*|^kubectl exec .* -- ", "", line) for line in (*blocks, *spans))
        found += [" ".join(line.split()) for line in lines]
    return [line for line in dict.fromkeys(found) if line.startswith("duly ")]


@pytest.fixture
def broker(tmp_path):
    """A Valkey with the users that the chart makes, and nobody else."""
    passwords, users = tmp_path / "passwords", tmp_path / "users.acl"
    passwords.mkdir()
    for name in ROLES:
        (passwords / name).write_text(PASSWORD, encoding="utf-8")
    command = ["sh", FILES / "start.sh", FILES / "duly.acl", passwords, users, "true"]
    subprocess.run(command, check=True)
    # The server's own client, which waits for its start, has no user.
    everybody = "user default on nopass ~* &* +@all"
    text = users.read_text(encoding="utf-8").replace("user default off ~* &* +@all", everybody)
    users.write_text(text, encoding="utf-8")
    server = BrokerServer.valkey(tmp_path / "server")
    server.arguments = (*server.arguments, "--aclfile", str(users))
    with server:
        yield server


@pytest.fixture
def as_role(broker):
    return lambda name: broker.settings().model_copy(
        update={"username": f"duly-{name}", "password": SecretStr(PASSWORD)}
    )


@pytest.fixture
def duly(broker, capsys, monkeypatch, tmp_path):
    """`await duly(line, role)`: exit code and output of a command, which is confirmed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text(PASSWORD, encoding="utf-8")
    monkeypatch.setenv("DULY_REDIS__HOST", broker.settings().host)
    monkeypatch.setenv("DULY_REDIS__PORT", str(broker.settings().port))
    monkeypatch.setenv("DULY_REDIS__PASSWORD", PASSWORD)

    def run(words):
        try:
            main(words)
        except SystemExit as ended:
            return ended.code
        return 0

    async def call(line, role):
        monkeypatch.setenv("DULY_REDIS__USERNAME", f"duly-{role}")
        monkeypatch.setattr("sys.stdin", Terminal("y\n"))
        code = await asyncio.to_thread(run, shlex.split(line)[1:])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


class World:
    """What a command needs to have something to work on."""

    def __init__(self, client, inspector):
        self.client, self.inspector = client, inspector
        self._numbers = itertools.count()

    async def filled(self, line):
        """Give the command with names of things that exist in the place of its capitals."""
        if "servers" in line:
            (server,) = await self.inspector.servers.list()
            return line.replace("ID", server.id)
        queue = f"queue-{next(self._numbers)}"
        left = await self.client.enqueue(Invoice(order_id=1), queue=queue, delay=timedelta(hours=1))
        if "drained" in line or line.endswith("rm QUEUE"):
            await self.inspector.tasks.delete(queue, left.id)
        if "ID" in line.split():
            task_id = left.id if "--to-queue" in line else await self.archived()
            line = line.replace(" ID", f" {task_id}")
        if "GROUP" in line:
            await self.client.enqueue(Mention(), queue=queue, group="ada")
        words = {
            "KIND:GROUP": "mention:ada",
            "QUEUE": queue,
            "OTHER": "low",
            "KIND": "failing",
            "TEXT": "mail",
        }
        return " ".join(words.get(word, word) for word in line.split(" "))

    async def archived(self):
        """Give the id of a task that has failed for good."""
        task = await self.client.enqueue(Failing())

        async def ended():
            found = await self.inspector.tasks.get("default", task.id)
            return found.state is TaskState.ARCHIVED

        await until(ended, what="the task has failed")
        return task.id


async def fail(job, context):
    raise ConnectionError("no mail today")


async def test_every_command_works_as_the_toolbox_runs_it(as_role, duly):
    async with Store.open(as_role("worker")) as store:
        await KindPublisher(store).publish([Invoice, Failing])
    stop, options = asyncio.Event(), ServerOptions(queues={"default": 1}, concurrency=4)
    tried, wrong = [], []
    async with (
        Client.connect(as_role("producer"), create_queues=True) as client,
        Inspector.connect(as_role("monitor")) as inspector,
        Server.open(as_role("worker"), options) as server,
        asyncio.TaskGroup() as tasks,
    ):
        server.handle(Failing, fail)
        tasks.create_task(server.run(stop))
        world = World(client, inspector)
        await world.archived()  # and the server is known
        # The command that stops the only worker comes last.
        for line in sorted(commands(), key=lambda line: "servers stop" in line):
            if line in FRAGMENTS:
                continue
            role = "worker" if line == "duly acl check worker" else "monitor"
            filled = await world.filled(line)
            code, said = await duly(filled, role)
            tried.append(line)
            if code != (line in DIAGNOSES):
                wrong.append(f"{line}: as {filled}: {said}")
        stop.set()

    assert wrong == []
    assert len(tried) >= 30


async def test_who_only_looks_can_ask_before_a_queue_goes(as_role, duly, tmp_path):
    (tmp_path / "queues").write_text('{"low": {}, "old": {}}', encoding="utf-8")
    line = "duly queues drained --declared-before queues"
    async with (
        Client.connect(as_role("producer"), create_queues=True) as client,
        Inspector.connect(as_role("monitor")) as inspector,
    ):
        task = await client.enqueue(Invoice(order_id=1), queue="old", delay=timedelta(hours=1))
        code, said = await duly(line, "viewer")
        assert (code, said.split(":")[1]) == (1, " queue old holds 1 task (1 scheduled)")

        await inspector.tasks.delete("old", task.id)
        assert await duly(line, "viewer") == (0, "queue old is drained\n")


def test_no_fragment_is_out_of_date():
    assert set(commands()) >= FRAGMENTS
