from datetime import timedelta

import pytest
from taskiq_dependencies import Depends

from duly.app.declaration import App
from duly.app.provision import provided
from duly.errors import ConfigError, UnknownKindError
from duly.job import Job
from duly.jobs import CheckPendingOrders
from duly.runtime.settings import Settings
from duly.schedule import Entry
from duly_scheduler.declared_entries import DeclaredEntries, timetable
from duly_scheduler.entriesfile import EntriesFile


class Remind(Job, kind="remind"):
    pass


@pytest.fixture
def app():
    return App("shop")


def entry(name, **options):
    return Entry(id=name, job=Remind(), interval=timedelta(minutes=1), **options)


async def test_the_timetable_is_what_is_declared_and_what_functions_return(app):
    first = app.schedule("first", Remind(), every=timedelta(minutes=1))

    @app.timetable
    def more(settings: Settings = Depends()):
        yield Entry(id="second", job=Remind(), interval=settings.scheduler.interval)

    found = await timetable(app, provided(app, Settings()))

    assert found == (first, Entry(id="second", job=Remind(), interval=timedelta(seconds=5)))


async def unknown(kind):
    raise UnknownKindError(kind)


async def test_providers_and_the_file_are_asked_each_time(app, tmp_path):
    returned = []

    @app.entry_provider
    async def provider():
        return returned

    file = tmp_path / "entries.yaml"
    file.write_text("entries: {a: {kind: check_pending_orders, interval: 1s}}")
    declared = DeclaredEntries(
        app, provided(app, Settings()), EntriesFile(file, [CheckPendingOrders])
    )

    before = await declared(unknown)
    returned.append(entry("b"))
    after = await declared(unknown)

    assert [one.id for one in before] == ["a"]
    assert [one.id for one in after] == ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ZeroDivisionError("x"), "raised ZeroDivisionError: x"),
        (["entry"], r"returned a str \(return a list of duly.Entry\)"),
        (7, r"returned a int \(return a list of duly.Entry\)"),
    ],
)
async def test_a_function_that_fails_is_named(app, answer, expected):
    @app.timetable
    def broken():
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ConfigError, match=f"broken: {expected}"):
        await timetable(app, provided(app, Settings()))
