"""What the shell offers for an argument."""

import pytest

from duly.cli import connection
from duly.cli.access import Access
from duly.cli.main import run

STATES = ["waiting", "active", "scheduled", "retry", "archived", "completed", "quarantined",
          "aggregating"]  # fmt: skip


@pytest.fixture
def complete(duly, monkeypatch, capsys):
    """`complete("queues pause de")` returns what bash is offered for the last word."""

    def offered(words):
        monkeypatch.setenv("_DULY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"duly {words}")
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ") + 1))
        with pytest.raises(SystemExit):
            run([], access=Access(inspector=duly.opener()))
        return capsys.readouterr().out.split()

    return offered


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("que", ["queues"]),
        ("queues pa", ["pause"]),
        ("queues pause ", ["critical", "default"]),
        ("queues pause de", ["default"]),
        ("tasks ls default --state ar", ["archived"]),
        ("tasks search --state ", STATES),
        ("tasks run --queue cr", ["critical"]),
        ("failures ls --queue de", ["default"]),
        ("schedules pause ", ["check-pending-orders"]),
        ("servers quiet ho", ["host-1:7:aa"]),
    ],
)
def test_the_words_of_an_argument_are_offered(complete, words, offers):
    assert complete(words) == offers


def test_the_published_kinds_are_offered(complete, duly):
    published = [report.kind for report in duly.inspector.published]

    assert published
    assert complete("tasks enqueue ") == published
    assert complete("tasks search --kind ") == published


def test_nothing_is_offered_and_nothing_printed_without_a_broker(complete, duly, capsys):
    async def down():
        raise ConnectionError

    duly.inspector.queues.list = down

    assert complete("queues pause ") == []
    assert capsys.readouterr().err == ""


def test_profiles_are_offered(complete, monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "_folder", lambda: tmp_path)
    (tmp_path / "prod.yaml").touch()

    assert complete("--profile ") == ["prod"]
