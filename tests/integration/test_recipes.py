"""docs/recipes.md: its files in a folder, started as they say; its cells in IPython."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs/recipes.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LISTENS = re.compile(r"(?:running on|Listening at:) (http://127\.0\.0\.1:\d+)")
START = 60
PROJECT = {
    "project/__init__.py": "",
    "shop/__init__.py": "",
    "project/settings.py": """
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite"}}
INSTALLED_APPS = ["shop.apps.ShopConfig"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
""",
    "project/urls.py": """
from django.urls import path

from shop.views import place_order

urlpatterns = [path("orders", place_order)]
""",
    "project/wsgi.py": """
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_wsgi_application()
""",
}
"""What every project of Django has."""


def section(title):
    """The text of a section; "Recipes" is what stands before the first."""
    before, *rest = SECTION.split(PAGE.read_text(encoding="utf-8"))
    return before if title == "Recipes" else dict(zip(rest[::2], rest[1::2], strict=True))[title]


def files_of(title):
    """Path → text of the files of a section."""
    found, text = {}, section(title)
    for match in BLOCK.finditer(text):
        *_, name = re.findall(r"`([\w/]+\.py)`", text[: match.start()]) or [""]
        found[name] = match[1]
    return found


@dataclass(frozen=True)
class Team:
    """Who follows the page: a folder, and variables that name the broker of the test."""

    folder: Path
    environment: dict[str, str]

    def write(self, files):
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)

    def run(self, *words):
        """Run a module or a file to its end; return what it said."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=START,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def started(self, *words):
        """Start a module; yield the file of its output."""
        log = self.folder / f"{words[0]}.log"
        process = spawn(
            [sys.executable, "-m", *words],
            log=log,
            folder=self.folder,
            environment=self.environment,
        )
        try:
            yield log
        finally:
            stop(process)

    @contextmanager
    def serving(self, *words):
        """Start a server; yield a client of it."""
        with self.started(*words) as log:
            found = wait_until(
                lambda: LISTENS.search(log.read_text()), timeout=START, what=f"{words[0]} listens"
            )
            with httpx.Client(base_url=found[1], timeout=START) as front:
                yield front


@pytest.fixture
def team(tmp_path, broker_settings):
    environment = inherited()
    environment["PYTHONPATH"] = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
    environment["DULY_REDIS__PORT"] = str(broker_settings.port)
    environment["DJANGO_SETTINGS_MODULE"] = "project.settings"
    found = Team(tmp_path, environment)
    found.write(files_of("Recipes"))
    return found


def command_of(text, program):
    """The words of a command in the text."""
    [line] = set(re.findall(rf"`({program} [^`\n]+)`", text))
    return line.replace("'", "").split()


async def test_fastapi(team, inspector):
    files = files_of("FastAPI")
    assert set(files) == {"fastapi_web.py"}
    team.write(files)
    program, *words = command_of(files["fastapi_web.py"], "uvicorn")

    with team.serving(program, *words, "--port", "0") as front:
        answers = [front.post("/orders/7/invoice") for _ in range(2)]

    assert [(it.status_code, it.json()) for it in answers] == [(202, {"task": "invoice-7"})] * 2
    assert (await inspector.queues.get("default")).waiting == 1


async def test_flask_in_a_server_that_forks(team, inspector):
    files = files_of("Flask")
    assert set(files) == {"flask_web.py"}
    team.write(files)
    program, *words = command_of(files["flask_web.py"], "gunicorn")

    with team.serving(program, *words, "--bind", "127.0.0.1:0") as front:
        answers = [front.post(f"/orders/{number % 10}/invoice") for number in range(20)]

    assert {it.status_code for it in answers} == {202}
    assert (await inspector.queues.get("default")).waiting == 10


@pytest.mark.parametrize("framework", ["FastAPI", "Flask"])
def test_without_a_broker_the_caller_is_asked_to_come_again(team, framework):
    files = files_of(framework)
    team.write(files)
    [(name, text)] = files.items()
    team.environment["DULY_REDIS__PORT"] = str(free_port())
    program, *words = command_of(text, "uvicorn" if framework == "FastAPI" else "gunicorn")
    place = ["--port", "0"] if program == "uvicorn" else ["--bind", "127.0.0.1:0"]

    with team.serving(program, *words, *place) as front:
        answer = front.post("/orders/7/invoice")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), name


def test_django_from_the_request_to_the_row(team):
    files = files_of("Django")
    assert set(files) == {f"shop/{it}.py" for it in ("apps", "models", "jobs", "views", "worker")}
    team.write(files | PROJECT)
    team.run("-m", "django", "migrate", "--run-syncdb")
    [_, _, *words] = command_of(section("Django"), "duly worker")

    with (
        team.serving("gunicorn", "--bind", "127.0.0.1:0", "project.wsgi") as front,
        team.started("duly_worker", *words),
    ):
        answer = front.post("/orders", data={"email": "ada@example.com"})
        assert answer.status_code == 201, answer.text

        def invoiced():
            with closing(sqlite3.connect(team.folder / "shop.sqlite")) as database:
                return ("ada@example.com", 1) in database.execute(
                    "SELECT email, invoiced FROM shop_order"
                ).fetchall()

        wait_until(invoiced, timeout=START, what="the order is invoiced")


def test_a_script_adds_what_is_missing(team):
    files = files_of("A script")
    assert set(files) == {"backfill.py"}
    team.write(files)
    [program, script, orders] = command_of(files["backfill.py"], "python")
    assert program == "python"

    said = []
    for count in (700, 800):
        team.write({orders: "id\n" + "\n".join(map(str, range(count))) + "\n"})
        said.append(team.run(script, orders))

    assert said == [
        "700 enqueued, 0 were there already\n",
        "100 enqueued, 700 were there already\n",
    ]


@pytest.fixture
def notebook(team, monkeypatch):
    """What runs the cells of a notebook in the folder, on the loop of the test."""
    monkeypatch.setattr(HistoryManager, "enabled", False)
    monkeypatch.setattr(sys, "displayhook", sys.displayhook)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    # The shell takes its place, by which processes that tests spawn later find their program.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.syspath_prepend(team.folder)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    yield InteractiveShell(ipython_dir=str(team.folder / "ipython"))
    sys.modules.pop("jobs", None)


async def test_a_notebook(notebook, broker_settings, run_until_idle):
    first, enqueue, look, call = BLOCK.findall(section("A notebook"))

    async def run(cell):
        result = await notebook.run_cell_async(cell, transformed_cell=notebook.transform_cell(cell))
        result.raise_error()
        return result.result

    await run(first.replace("6379", str(broker_settings.port)))
    task_id, state = await run(enqueue)
    assert state == "waiting"
    [ran] = await run_until_idle(notebook.user_ns["app"])
    assert (ran.kind, ran.outcome) == ("send_invoice", "succeeded")
    assert await run(look) == ("completed", "invoice of order 7"), task_id
    assert await run(call) == "invoice of order 7"
