from datetime import UTC, datetime, timedelta

from duly.runtime.monitor_settings import LinkSettings
from duly.task import Attempt, AttemptOutcome, Task, TaskState
from duly_monitor.links import Links

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
TASK = Task(id="a/b?c", queue="low", kind="mail", state=TaskState.ARCHIVED)


def test_without_templates_there_are_no_links():
    links = Links(LinkSettings())

    assert (links.trace("ab"), links.logs(TASK, None, NOON)) == ("", "")


def test_values_are_quoted_and_cannot_lead_elsewhere():
    links = Links(LinkSettings(trace="https://t/{trace_id}", logs="https://l/{task_id}/{kind}"))

    assert links.trace("a/../b?") == "https://t/a%2F..%2Fb%3F"
    assert links.trace("") == ""
    assert links.logs(TASK, None, NOON) == "https://l/a%2Fb%3Fc/mail"


def test_logs_of_an_attempt_are_those_around_it():
    links = Links(LinkSettings(logs="https://l/?from={from_ms}&to={to_ms}&on={server}"))
    run = Attempt(
        number=1, outcome=AttemptOutcome.FAILED, at=NOON, duration=timedelta(seconds=5), server="w"
    )
    noon_ms = int(NOON.timestamp() * 1000)

    assert links.logs(TASK, run, NOON) == (
        f"https://l/?from={noon_ms - 65_000}&to={noon_ms + 60_000}&on=w"
    )
