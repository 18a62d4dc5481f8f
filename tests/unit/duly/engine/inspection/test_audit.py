from datetime import timedelta

import pytest

from duly.engine.storage.keys import AUDIT
from duly.engine.storage.reports import AuditRecord
from duly.task import TaskState


def record(action="pause_queue", **facts):
    return AuditRecord(**{"user": "ada", "action": action, "result": "done", **facts})


async def test_records_are_listed_newest_first_page_by_page(inspector):
    for number in range(5):
        await inspector.audit.append(record(f"a{number}", count=number, role="admin"))

    first = await inspector.audit.list(limit=3)
    second = await inspector.audit.list(limit=3, cursor=first.next_cursor)

    assert [each.action for each in (*first.records, *second.records)] == [
        "a4", "a3", "a2", "a1", "a0",
    ]  # fmt: skip
    assert second.next_cursor is None
    assert (first.records[0].count, first.records[0].role, first.records[0].user) == (
        4, "admin", "ada",
    )  # fmt: skip
    assert first.records[0].at is not None


async def test_the_tasks_of_an_action_on_many_are_kept(inspector):
    await inspector.audit.append(record(tasks=("low/a", "low/\ud800" + "x" * 2_000)))

    (kept,) = (await inspector.audit.list()).records
    assert kept.tasks[0] == "low/a"
    assert len(kept.tasks[1]) <= 1_000


async def test_no_more_is_kept_than_was_said(inspector, store):
    for _ in range(400):
        await inspector.audit.append(record(), most=100)

    # The broker drops whole nodes of its stream, of a hundred entries.
    assert 100 <= await store.connection.command("XLEN", AUDIT) < 250


async def test_what_is_too_old_goes_with_the_next_record(inspector, store):
    old = [("XADD", AUDIT, f"{number + 1}-0", "data", "{}") for number in range(300)]
    await store.connection.many(old)

    await inspector.audit.append(record(), age=timedelta(days=1))

    assert await store.connection.command("XLEN", AUDIT) < 150


async def test_foreign_entries_hide_no_record(inspector, store):
    await store.connection.command("XADD", AUDIT, "*", "scribble", "x")
    await inspector.audit.append(record())
    await store.connection.command("XADD", AUDIT, "*", "data", '{"user": 7}')

    page = await inspector.audit.list()

    assert [each.user for each in page.records] == ["ada"]


async def test_texts_are_cut_and_encodable(inspector):
    await inspector.audit.append(record(reason="x" * 5_000, detail="\udc80"))

    (found,) = (await inspector.audit.list()).records

    assert len(found.reason) == 1_000
    assert found.detail == "?"


@pytest.mark.parametrize("cursor", ["", "x", "0-0", "18446744073709551616-0", "٣-0", "1-0-0"])
async def test_a_foreign_cursor_is_refused(inspector, cursor):
    with pytest.raises(ValueError, match="not a cursor"):
        await inspector.audit.list(cursor=cursor)


async def test_the_audit_is_no_queue(inspector):
    await inspector.audit.append(record())

    assert await inspector.queues.list() == []
    assert await inspector.tasks.count((), frozenset(TaskState)) == 0
