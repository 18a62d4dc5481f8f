"""Notes that runs of a job leave for the next one."""

from datetime import UTC, datetime, timedelta

from duly.engine.storage.keys import notes_key

AT = datetime(2026, 11, 29, 9, 0, 0, 123_457, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_what_is_noted_is_read_to_the_microsecond(inspector):
    noted = {f"order {number}": AT + timedelta(microseconds=number) for number in range(1200)}
    await inspector.notes.write("a", noted, most=5000, keep=HOUR)

    assert await inspector.notes.read("a", [*noted, "other"]) == noted
    assert await inspector.notes.read("b", [*noted]) == {}


async def test_a_note_moves_forward_only(inspector):
    for seconds in (5, 9, 7):
        at = {"x": AT + timedelta(seconds=seconds)}
        await inspector.notes.write("a", at, most=10, keep=HOUR)

    assert await inspector.notes.read("a", ["x"]) == {"x": AT + timedelta(seconds=9)}


async def test_notes_are_bounded_expire_and_are_forgotten(inspector, store):
    noted = {f"{number}": AT + timedelta(seconds=number) for number in range(8)}
    await inspector.notes.write("a", noted, most=5, keep=HOUR)
    assert (await inspector.notes.read("a", [*noted])).keys() == set("01234")

    await inspector.notes.forget("a", before=AT + timedelta(seconds=3))
    assert (await inspector.notes.read("a", [*noted])).keys() == set("34")
    assert 0 < await store.connection.command("PTTL", notes_key("a")) <= 3_600_000
