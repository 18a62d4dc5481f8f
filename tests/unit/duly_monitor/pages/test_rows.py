from datetime import timedelta

from duly.task import Task, TaskState
from duly_monitor.pages.rows import Rows


async def test_rows_know_policies_running_tasks_and_columns(inspector):
    active = next(task for task in inspector.held if task.state is TaskState.ACTIVE)
    bare = Task(id="x", queue="low", kind="send_invoice", state=TaskState.WAITING)
    bare.payload.update(a={"b": [1, "ü"]}, pin="1234", flag=True, none=None)

    first, second = await Rows(inspector).of([active, bare], ["a.b", "pin", "flag", "none", "a.x"])

    assert first.at == inspector.at - timedelta(seconds=3)
    assert (first.runs, first.most, first.running.stuck) == (1, 3, False)
    assert (second.runs, second.most, second.running) == (0, 3, None)
    assert second.values == ('[1, "ü"]', "••••••", "true", "null", "")


async def test_kinds_are_read_once_in_a_while(inspector):
    rows, tasks = Rows(inspector), [task for task in inspector.held if not task.server][:3]
    await rows.of(tasks)
    before = inspector.calls

    await rows.of(tasks)
    await rows.of([])

    assert inspector.calls == before


async def test_a_page_asks_for_the_kinds_that_it_shows(inspector):
    asked = []
    policies = inspector.kinds.policies

    async def note(kinds):
        asked.append(set(kinds))
        return await policies(kinds)

    inspector.kinds.policies = note
    rows, state = Rows(inspector), TaskState.WAITING
    tasks = [Task(id=kind, queue="low", kind=kind, state=state) for kind in ("a", "b")]

    await rows.of(tasks[:1])
    await rows.of(tasks)

    assert asked == [{"a"}, {"b"}]
