"""Whatever stands on a command line or in a log: a mistake is a sentence, an event is a line."""

import io
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from duly import DulyError
from duly.cli.access import Access
from duly.cli.acl import _hash
from duly.cli.main import run
from duly.cli.nouns import MisuseError, duration_of, state_of
from duly.cli.render import block, one_line
from duly.cli.selection import Selection, instant_of
from duly.runtime.attemptlog import trace_id_of
from duly.runtime.output import Output
from duly.runtime.settings import LogSettings

PROFILE = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEEP = "[" * 100_000
texts = st.text(max_size=30)
numbers = st.integers().map(str) | st.sampled_from(["9" * 400, "9" * 5000, "²", "1e999", "-1s"])
pairs = st.builds("{}={}".format, texts, texts | numbers | st.just(DEEP))
COMMANDS = [
    *("tasks ls", "tasks inspect", "tasks search", "tasks enqueue", "tasks run", "tasks edit"),
    *("queues ls", "queues history", "queues inspect", "schedules history", "groups ls"),
    *("servers quiet", "acl show", "acl check", "failures ls", "joins ls", "stats", ""),
]
OPTIONS = [
    *("--state", "--limit", "--after", "--due", "--payload", "--json", "--kind", "--cursor"),
    *("--window", "--dry-run", "--user", "--header", "--retention", "--field", "-"),
]


@asynccontextmanager
async def nobody(*_):
    raise DulyError("there is no broker")
    yield


@PROFILE
@given(
    st.sampled_from(COMMANDS),
    st.lists(st.sampled_from(OPTIONS) | texts | numbers | pairs, max_size=5),
)
@example("tasks ls", ["default", "--limit", "9" * 5000])
@example("tasks enqueue", ["check_pending_orders", "--payload", DEEP])
@example("tasks enqueue", ["check_pending_orders", f"a={DEEP}"])
@example("tasks ls", ["\ud800"])
def test_words(tmp_path, monkeypatch, capsys, command, words):
    monkeypatch.chdir(tmp_path)
    access = Access(inspector=nobody, client=nobody)

    code = run([*command.split(), *words], access=access)

    said = capsys.readouterr().err
    assert code in {0, 1, 2}
    assert "Traceback" not in said


def misuse(function, *arguments, **named):
    """Call it; nothing but a sentence about the misuse may escape."""
    try:
        return function(*arguments, **named)
    except MisuseError:
        return None


@PROFILE
@given(texts | numbers | st.builds("{}{}".format, numbers, st.sampled_from(["d", "s", "ms"])))
@example("0001-01-01T00:00:00+14:00")
@example("9" * 300 + "d")
def test_instants_and_durations(text):
    for sign in (-1, 1):
        misuse(instant_of, text, NOW, "--due", sign=sign)
    misuse(duration_of, "--wait", text)
    misuse(state_of, text)


@PROFILE
@given(st.lists(pairs | texts, max_size=3))
def test_fields(fields):
    misuse(Selection(payload=tuple(fields)).query, ())


@PROFILE
@given(st.binary(max_size=30))
def test_files_of_passwords(tmp_path, content):
    file = tmp_path / "secret"
    file.write_bytes(content)

    assert len(misuse(_hash, file) or "0" * 64) == 64


@PROFILE
@given(st.text(max_size=60))
def test_texts_in_a_terminal(text):
    assert one_line(text).isprintable()
    assert all(line.isprintable() for line in block(text).split("\n"))


@PROFILE
@given(texts | st.from_regex(r"\A00-[0-9a-f]{32}-[0-9a-f]{16}-01\Z"))
def test_trace_headers(text):
    found = trace_id_of({"traceparent": text})

    assert found == "" or len(found) == 32


class Broken:
    def __str__(self):
        raise ValueError("no")


logged = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=9)
    | st.decimals(allow_nan=True) | st.timedeltas() | st.datetimes() | st.just(Broken()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@PROFILE
@given(texts, st.dictionaries(texts, logged, max_size=4))
@example("a\nb", {"x\ny": "c\u2028d", "percent%s": "%s"})
@example("", {"message": Decimal("sNaN"), "level": timedelta.max})
def test_events_are_one_line_each(message, fields):
    for style in ("logfmt", "json"):
        output = Output(LogSettings(format=style), service="worker", stream=io.StringIO())
        line = output.line("INFO", message, fields)

        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        if style == "json":
            assert json.loads(line)["message"] == message.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("word", ["\ud800", "a\x00b", "\x1b[31m", "9" * 5000, "--", "-h"])
def test_odd_words(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)

    assert run([word], access=Access(inspector=nobody, client=nobody)) in {0, 2}
