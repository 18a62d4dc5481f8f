"""`duly up` with an application of one's own in an empty directory."""

import subprocess
import sys
from textwrap import dedent

import pytest

from duly.testing.environment import inherited

pytestmark = pytest.mark.timeout(300)
APP = """
    from datetime import timedelta

    from duly import App, Depends, Settings, TaskContext

    app = App("shop")


    @app.lifespan
    async def greeting(settings: Settings = Depends()):
        yield "Hello"


    @app.task(queue="low")
    async def greet(name: str, context: TaskContext = Depends(), word=Depends(greeting)) -> None:
        print(f"{word} {name} from {context.queue}")


    app.schedule("greet", greet.job("Ada"), every=timedelta(seconds=1))
"""


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(dedent(APP))
    return file


def test_it_runs_what_the_application_declares_and_starts_anew_at_a_change(local_run, shop):
    run = local_run("--app", "shop:app", "--reload", "--port", "0")

    run.until("worker-low +\\| Hello Ada from low")
    assert "orders" not in run.text
    assert {"migrate", "demo"}.isdisjoint(run.facts["processes"])

    good = shop.read_text()
    shop.write_text(good + "\n1 / 0\n")
    run.until("worker-low exited with code 2: waiting for a change")
    assert "app: importing shop raised ZeroDivisionError: division by zero (shop.py:" in run.text
    assert "Traceback" not in run.text

    shop.write_text(good.replace('yield "Hello"', 'yield "Welcome"'))
    run.until("worker-low +\\| Welcome Ada from low")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up", "--app", "shop:nothing"], "duly: app: shop has no 'nothing' (did you mean shop:a"),
        (["up", "--app", "shop:app", "--demo"], "demo orders are for the check of pending orders"),
        (["up", "--app", "broken:app"], "importing broken raised ZeroDivisionError"),
        (["worker", "--app", "shopp:app", "--queue", "low"], "there is no module 'shopp'"),
        (["scheduler", "--app", "shop"], "such as shop:app"),
        (["worker", "--queue", "low"], "database.url: there is no folder /nowhere"),
        (["worker", "--queue", "nosuch"], "there is no queue 'nosuch'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(shop, words, expected):
    (shop.parent / "broken.py").write_text("1 / 0")
    done = subprocess.run(
        [sys.executable, "-m", "duly.cli", *words],
        cwd=shop.parent,
        env={**inherited(), "DULY_DATABASE__URL": "sqlite:////nowhere/orders.db"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("service", ["worker", "scheduler", "monitor"])
def test_the_services_can_be_started_by_duly(service):
    done = subprocess.run(
        [sys.executable, "-m", "duly.cli", service, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: duly_{service}" in done.stdout.replace("duly-", "duly_")
