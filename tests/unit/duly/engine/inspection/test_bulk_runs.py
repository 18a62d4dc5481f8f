import pytest

from duly.engine.inspection.bulk_runs import KEPT_RUNS
from duly.engine.storage.keys import BULK_RUNS
from duly.engine.storage.reports import BulkRunReport, BulkRunState
from duly.engine.storage.store import Store
from duly.errors import NotFoundError


def report(inspector, run_id, *, ago_ms=0, **more):
    now = inspector.bulk_runs.now_ms() - ago_ms
    return BulkRunReport(
        id=run_id, operation="run", selection="state:archived", by="ann",
        started_ms=now, updated_ms=now, **more,
    )  # fmt: skip


async def test_a_run_is_known_to_every_process_the_newest_first(inspector):
    await inspector.bulk_runs.begin(report(inspector, "a", ago_ms=5_000))
    await inspector.bulk_runs.begin(report(inspector, "b", total=7, done=3))

    assert [each.id for each in await inspector.bulk_runs.list()] == ["b", "a"]
    assert (await inspector.bulk_runs.get("b")).done == 3
    with pytest.raises(NotFoundError, match="bulk operation"):
        await inspector.bulk_runs.get("c")


async def test_a_run_is_stopped_by_a_mark(inspector):
    await inspector.bulk_runs.begin(report(inspector, "a"))
    before = await inspector.bulk_runs.stopped("a")

    await inspector.bulk_runs.stop("a")

    assert (before, await inspector.bulk_runs.stopped("a")) == (False, True)


async def test_a_run_whose_process_says_nothing_has_failed(inspector):
    await inspector.bulk_runs.begin(report(inspector, "silent", ago_ms=60_000))
    await inspector.bulk_runs.begin(
        report(inspector, "done", ago_ms=60_000, state=BulkRunState.DONE)
    )

    silent, done = [await inspector.bulk_runs.get(each) for each in ("silent", "done")]

    assert (silent.state, done.state) == (BulkRunState.FAILED, BulkRunState.DONE)
    assert "has ended" in silent.error


async def test_only_the_newest_are_kept_and_a_strangers_bytes_are_passed_over(
    inspector, broker_settings
):
    async with Store.open(broker_settings) as store:
        await store.connection.command("HSET", BULK_RUNS, "odd", b"\xff{")
    for number in range(KEPT_RUNS + 2):
        await inspector.bulk_runs.begin(report(inspector, f"r{number:03}", ago_ms=-number))

    found = [each.id for each in await inspector.bulk_runs.list()]

    assert (len(found), found[0], found[-1]) == (KEPT_RUNS, f"r{KEPT_RUNS + 1:03}", "r002")
