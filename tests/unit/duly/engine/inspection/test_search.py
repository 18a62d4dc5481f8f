"""Searches go on where they have come to, whatever comes and goes meanwhile."""

from datetime import timedelta

import pytest

from duly.engine.inspection.search import SEARCHED, Place, Query, lists_from
from duly.job import Job
from duly.task import TaskState

A, W = TaskState.ARCHIVED, TaskState.WAITING


class Bill(Job, kind="bill"):
    order_id: int


def names(place, queues, *, named=False):
    lists = lists_from(place, queues, (A, W), named=named)
    return [(each.state, each.queue, each.cursor) for each in lists]


def test_a_search_looks_at_every_list_state_by_state():
    assert names(None, ["x", "y"]) == [
        (A, "x", None), (A, "y", None), (W, "x", None), (W, "y", None),
    ]  # fmt: skip


def test_it_goes_on_in_the_list_where_it_was():
    assert names(Place(A, "y", "7:t/1"), ["x", "y"]) == [
        (A, "y", "7:t/1"), (W, "x", None), (W, "y", None),
    ]  # fmt: skip


def test_where_its_queue_has_gone_it_goes_on_with_the_next():
    assert names(Place(A, "xx", "7"), ["x", "y"]) == [
        (A, "y", None), (W, "x", None), (W, "y", None),
    ]  # fmt: skip


def test_queues_that_were_asked_for_keep_their_order():
    place = Place(A, "x", "7")

    assert names(place, ("y", "x"), named=True)[0] == (A, "x", "7")
    assert len(names(place, ("y", "x"), named=True)) == 3


@pytest.mark.parametrize(
    "place", [Place(TaskState.RETRY, "x", None), Place(A, "other", "7")], ids=str
)
def test_a_place_of_another_search_is_refused(place):
    with pytest.raises(ValueError, match="not a cursor"):
        lists_from(place, ("x",), (A, W), named=True)


@pytest.mark.parametrize("place", [Place(A, "x", "7:a/b"), Place(W, "x", None)], ids=str)
def test_places_are_read_again(place):
    assert Place.of(str(place)) == place


@pytest.mark.parametrize("text", ["", "x", "archived", "archived/x", "sleeping/x/1", "//"])
def test_other_texts_are_no_places(text):
    with pytest.raises(ValueError, match=r"\S"):
        Place.of(text)


@pytest.mark.parametrize(("limit", "window"), [(7, 100_000), (100, 9), (3, 5)])
async def test_all_is_found_part_by_part(client, inspector, limit, window):
    tasks = await client.enqueue_many([Bill(order_id=number) for number in range(40)])
    for task in tasks[:15]:
        await inspector.tasks.archive("default", task.id)
    late = await client.enqueue(Bill(order_id=99), delay=timedelta(hours=1))

    found, cursor = [], None
    while True:
        part = await inspector.tasks.search(
            Query(kind="bill"), limit=limit, window=window, cursor=cursor
        )
        found += [task.id for task in part.tasks]
        assert part.complete == (part.next_cursor is None)
        cursor = part.next_cursor
        if cursor is None:
            break

    assert sorted(found) == sorted([*(task.id for task in tasks), late.id])


async def test_what_goes_meanwhile_makes_it_miss_nothing(client, inspector):
    tasks = await client.enqueue_many([Bill(order_id=number) for number in range(20)])
    for task in tasks:
        await inspector.tasks.archive("default", task.id)
    first = await inspector.tasks.search(Query(), limit=8)

    for task in first.tasks:
        await inspector.tasks.delete("default", task.id)
    second = await inspector.tasks.search(Query(), limit=100, cursor=first.next_cursor)

    assert {task.id for task in (*first.tasks, *second.tasks)} == {task.id for task in tasks}


@pytest.mark.parametrize("cursor", ["x", "archived/elsewhere", "archived/default/x y", "\ud800"])
async def test_a_cursor_that_is_none_is_refused(client, inspector, cursor):
    await client.enqueue(Bill(order_id=1))

    with pytest.raises(ValueError, match=r"\S"):
        await inspector.tasks.search(Query(states=SEARCHED), cursor=cursor)
