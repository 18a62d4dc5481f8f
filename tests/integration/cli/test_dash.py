"""`duly dash` over a real Valkey, by the keys a person presses, on 80 by 24 characters."""

from datetime import timedelta

from textual.widgets import DataTable, Static

from duly.cli.board import Board
from duly.cli.views import Confirm, Help
from duly.engine.inspection.inspector import Inspector
from duly.job import Job
from duly.task import TaskState
from duly.testing.waiting import until


class OutboxEntry(Job, kind="dash_letter"):
    number: int
    note: str = ""


def text(app, selector):
    return str(app.screen.query_one(selector, Static).render())


def rows(app):
    table = app.screen.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(place)] for place in range(table.row_count)]


async def test_queues_are_live_and_can_be_paused(client, inspector):
    await client.enqueue(OutboxEntry(number=1))
    app = Board(inspector, 0.5)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: rows(app) and rows(app)[0][:2] == ["default", "1"])
        await client.enqueue(OutboxEntry(number=2))
        await until(lambda: rows(app)[0][1] == "2")

        await pilot.press("p")
        assert isinstance(app.screen, Confirm)
        await pilot.press("y")
        await until(lambda: rows(app)[0][0] == "default (paused)")

        await pilot.press("p", "n")
        assert (await inspector.queues.get("default")).paused_since is not None
        assert app.screen.query_one(DataTable).virtual_size.width <= 80


async def test_a_task_is_opened_by_letters_and_run(client, inspector):
    task = await client.enqueue(OutboxEntry(number=7, note="\x1b[31m[b]"), delay=timedelta(hours=1))
    await inspector.tasks.archive("default", task.id)
    app = Board(inspector, 0.5)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: rows(app))
        await pilot.press("l")
        await until(lambda: "waiting 0" in text(app, "#title"))
        for _ in range(list(TaskState).index(TaskState.ARCHIVED)):
            await pilot.press("tab")
        await until(lambda: rows(app) and rows(app)[0][:2] == [task.id, "dash_letter"])

        await pilot.press("enter")
        await until(lambda: "state     archived" in text(app, "#task"))
        assert "\x1b" not in text(app, "#task")
        assert "[b]" in text(app, "#task")

        await pilot.press("r", "y")
        await until(lambda: "state     waiting" in text(app, "#task"))
        await pilot.press("a", "n")
        assert (await inspector.tasks.get("default", task.id)).state is TaskState.WAITING

        await pilot.press("h")
        await until(lambda: "waiting 1" in text(app, "#title"))


async def test_what_can_not_be_done_is_said(client, inspector):
    await client.enqueue(OutboxEntry(number=1))
    app = Board(inspector, 60)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: rows(app))
        await pilot.press("enter")
        await until(lambda: rows(app) and rows(app)[0][1] == "dash_letter")
        await pilot.press("r", "y")
        await until(lambda: "cannot run task" in text(app, "#line"))


async def test_a_broker_that_is_away_is_said_until_it_is_back(own_server):
    async with Inspector.connect(own_server.settings()) as inspector:
        app = Board(inspector, 0.5)
        async with app.run_test(size=(80, 24)):
            await until(lambda: text(app, "#title") == "0 queues, 0 tasks")
            own_server.kill9()
            await until(lambda: "cannot be reached" in text(app, "#line"))
            own_server.start()
            await until(lambda: text(app, "#line") == "")


async def test_help_and_the_way_out(client, inspector):
    app = Board(inspector, 60)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        await pilot.press("q")
    assert app.return_code == 0
