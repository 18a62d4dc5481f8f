"""What `duly doctor` looks at, on a real broker."""

import asyncio
import os
import sys
from datetime import timedelta

import pytest

from duly import Client, Job, Policy
from duly.cli.access import Access
from duly.cli.diagnosis import diagnose
from duly.clock import SystemClock
from duly.engine.inspection.health import Level
from duly.testing.processes import spawn
from duly.testing.waiting import wait_until


class Poke(Job, kind="poke", policy=Policy(queue="low")):
    pass


class Shifted(SystemClock):
    """A machine whose clock is behind."""

    def now(self):
        return super().now() - timedelta(seconds=35)


@pytest.fixture
def place(tmp_path, monkeypatch, broker_settings):
    """An empty directory, in an environment that names an empty broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "DULY_REDIS__URL", f"redis://{broker_settings.host}:{broker_settings.port}/0"
    )
    return tmp_path


def found(**more):
    """Give what was looked at → the findings about it."""
    looks = {}
    for finding in diagnose(Access(), **more):
        looks.setdefault(finding.checked, []).append(finding)
    return looks


def test_a_new_broker_is_told_of_as_it_is(place):
    looks = found()

    assert [each.level for each in looks["configuration"]] == [Level.OK]
    assert "Valkey" in looks["broker"][0].sentence
    assert "answered in" in looks["broker"][0].sentence
    assert looks["queue low"][0].level is Level.NOTE
    assert looks["workers"][0].level is Level.WARN
    assert "start one with duly worker" in looks["workers"][0].sentence
    assert not [each for all_of in looks.values() for each in all_of if each.level is Level.BAD]


def test_tasks_that_nobody_runs_are_bad(place, broker_settings):
    async def enqueue() -> None:
        async with Client.connect(broker_settings) as client:
            await client.enqueue(Poke())

    asyncio.run(enqueue())

    (finding,) = found()["queue low"]
    assert finding.level is Level.BAD
    assert "no workers, 1 task waiting" in finding.sentence
    assert "duly queues inspect low" in finding.sentence


def test_a_clock_that_is_apart_is_told(place):
    sentences = [each.sentence for each in found(clock=Shifted())["broker"]]

    assert any("has a clock 3" in each and "s ahead of" in each for each in sentences)


def test_a_wrong_key_is_the_only_finding(place):
    (place / "duly.yaml").write_text("redis: {prot: 6379}\n")

    (only,) = diagnose(Access())

    assert (only.checked, only.level) == ("configuration", Level.BAD)
    assert "redis.prot" in only.sentence


def test_a_broker_that_does_not_answer_hides_nothing_else(place, monkeypatch):
    monkeypatch.setenv("DULY_REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DULY_REDIS__TIMEOUT", "500ms")

    looks = found()

    assert [each.level for each in looks["broker"]] == [Level.BAD]
    assert "127.0.0.1:1" in looks["broker"][0].sentence
    assert looks["application"][0].level is Level.OK


def test_an_application_that_cannot_be_imported_is_told_with_its_remedy(place, monkeypatch):
    monkeypatch.setenv("DULY_APP", "nowhere.jobs:app")

    (finding,) = found()["application"]

    assert finding.level is Level.BAD
    assert "there is no module 'nowhere'" in finding.sentence


def test_kinds_that_no_live_worker_runs_are_named(place, monkeypatch):
    """Of an application whose workers are those of the release before."""
    old, new = (f"{each}_jobs_{place.name}" for each in ("old", "new"))
    for module, kinds in ((old, ["first"]), (new, ["first", "second"])):
        tasks = [f"@app.task(queue='low')\nasync def {kind}() -> None: ..." for kind in kinds]
        (place / f"{module}.py").write_text(
            "\n".join(["from duly import App", "app = App('shop')", *tasks])
        )
    monkeypatch.setenv("DULY_METRICS__ENABLED", "false")
    worker = spawn(
        [sys.executable, "-m", "duly_worker", "--app", f"{old}:app", "--queue", "low"],
        log=place / "worker.log",
        folder=place,
        environment=dict(os.environ),
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("DULY_APP", f"{new}:app")
    try:
        wait_until(
            lambda: any(
                finding.sentence.startswith("no live worker runs second,")
                for finding in found()["workers"]
            ),
            timeout=60,
            what="a live worker",
        )
    finally:
        worker.terminate()
        worker.wait(30)
