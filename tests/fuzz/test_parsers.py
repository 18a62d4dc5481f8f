"""Every parser of foreign bytes answers or raises its own error, whatever it is given.

Foreign are: entries of streams, values of side keys, descriptions of servers and entries, cursors,
settings, addresses, command lines. No answer is checked here, only that nothing else escapes.
"""

import json
import string
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from duly import ConfigError, Job, MalformedTaskError, RedisSettings, TaskState
from duly.cadence import cadence_of
from duly.engine.enqueue.flows import flow_of
from duly.engine.storage import attempts, decoding
from duly.engine.storage.codec import decode, lock_in, lock_of, payload_reader, whole
from duly.engine.storage.delivery import delivery_of
from duly.engine.transport.endpoints import Endpoints
from duly.runtime.yamlfile import read_yaml

NOW_MS = 1_767_614_400_000
DEEP = b"[" * 100_000
ODD = [DEEP, b"", b"null", b"NaN", b"\xff", b"1e999", b'"\\ud800"', b"\x80\x04K\x01."]
PROFILE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Bill(Job, kind="bill"):
    order_id: int
    note: str = ""
    lines: tuple[dict[str, float], ...] = ()


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
NAMES = [
    *("task_id", "task_name", "labels", "kwargs", "args", "lock", "headers", "flow", "group"),
    *("max_attempts", "timeout_ms", "deadline_ms", "retention_ms", "host", "pid", "queues"),
    *("concurrency", "started_ms", "beat_ms", "lease_ms", "running", "id", "kind", "queue"),
    *("fraction", "note", "interval_ms", "overlap", "announced_ms", "cron", "timezone"),
    *("catch_up", "payload", "number", "outcome", "at", "duration", "started", "next", "join"),
]
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=12)
almost = objects.map(lambda value: json.dumps(value).encode())
junk = (
    st.binary(max_size=200)
    | almost
    | st.builds(lambda data, at: data[:at], almost, st.integers(0, 60))
    | st.sampled_from(
        [DEEP, b"", b"null", b"NaN", b"\xff", b"1e999", b'"\\ud800"', b"\x80\x04K\x01."]
    )
)
texts = st.text(max_size=60)


def only(errors, function, *arguments, **named):
    """Call it; nothing but these errors may escape. Return the answer, or None."""
    try:
        return function(*arguments, **named)
    except errors:
        return None


@PROFILE
@given(junk)
def test_messages(data):
    message = only(MalformedTaskError, decode, data)

    assert isinstance(lock_in(data), str)
    if message is not None:
        assert isinstance(lock_of(message), str)
        only(MalformedTaskError, payload_reader(Bill), message)
        only(MalformedTaskError, flow_of, message.labels)
        for name in message.labels:
            only(MalformedTaskError, whole, message.labels, name, 0)


@PROFILE
@given(st.dictionaries(st.sampled_from(["order_id", "note", "lines", "x"]), values), objects)
def test_payloads_and_labels_of_well_formed_messages(kwargs, labels):
    data = json.dumps(
        {"task_id": "t", "task_name": "bill", "labels": labels, "kwargs": kwargs}
    ).encode()
    message = only(MalformedTaskError, decode, data)

    if message is not None:
        only(MalformedTaskError, payload_reader(Bill), message)
        only(MalformedTaskError, flow_of, message.labels)


@PROFILE
@given(junk, st.lists(st.binary(max_size=30), max_size=6))
def test_entries_of_a_stream(stream_id, fields):
    pairs = fields if len(fields) % 2 == 0 else fields[:-1]

    delivery_of(stream_id, pairs)
    delivery_of(b"1-1", [b"data", stream_id, b"tries", stream_id])
    decoding.entry_instant(stream_id)


@PROFILE
@given(st.lists(junk, min_size=4, max_size=4), st.floats(), st.sampled_from(list(TaskState)))
@example([b"", b"9" * 400 + b" 1", b"", b""], 1e300, TaskState.RETRY)
def test_what_is_kept_of_a_task(kept, score, state):
    data, tries, history, result = kept
    found = decoding.task_from(
        queue="q", task_id="t", state=state, data=data, tries=tries, history=history,
        result=result, score_ms=score,
    )  # fmt: skip

    assert found.id == "t"
    msgspec.json.encode(found.state)


@PROFILE
@given(junk, st.none() | st.floats(), texts)
def test_descriptions_of_servers(description, lease_end, task_id):
    decoding.server_from("s", description, lease_end, NOW_MS)
    decoding.progress_in(description, task_id)
    decoding.described_ms(description)


@PROFILE
@given(junk, st.dictionaries(st.sampled_from(["e", "e:missed", "e:paused-since"]), junk))
def test_descriptions_of_entries(description, counts):
    decoding.entry_from("e", description, queue="q", counts=counts, last=None, now_ms=NOW_MS)


@PROFILE
@given(junk, st.lists(junk, min_size=6, max_size=6))
def test_recorded_ticks(stream_id, found):
    fields = [b"slot", found[0], b"outcome", found[1], b"task", found[2]]

    decoding.tick_from("e", stream_id, fields)


@PROFILE
@given(texts | st.text(string.digits + "*/-, @", max_size=30), texts)
@example("* * * * *", "Europe/Berlin")
@example("*/0 * * * *", "UTC")
def test_cron_expressions_and_time_zones(cron, timezone):
    cadence = only(ConfigError, cadence_of, None, cron, timezone)
    if cadence is not None:
        only((ConfigError, OverflowError), cadence.after, NOW_MS, 2)


@PROFILE
@given(st.timedeltas())
def test_intervals(interval):
    only(ConfigError, cadence_of, interval, None)
    only(ConfigError, cadence_of, timedelta(0), None)


@PROFILE
@given(st.binary(max_size=200) | objects.map(lambda value: json.dumps(value).encode()))
@example(b"redis: &a [*a]")
@example(b"!!python/object/apply:os.system [true]")
@example(b"a: b\x00c")
@example(b"? {a: 1}\n: b")
def test_settings_files(tmp_path, data):
    file = tmp_path / "duly.yaml"
    file.write_bytes(data)

    only(ConfigError, read_yaml, file)


secrets = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x00"), min_size=6)


@PROFILE
@given(secrets, st.sampled_from(["redis", "rediss", "unix", "http", ""]), texts)
@example("p@ss/w:rd#1?x", "redis", "h:1/0")
@example("sesame[::1", "redis", "h")
def test_addresses_with_a_password_that_is_not_encoded(password, scheme, rest):
    url = f"{scheme}://user:{password}@{rest}"
    told = ""
    try:
        Endpoints(RedisSettings(url=SecretStr(url)))
    except ConfigError as error:
        told = str(error)
    except ValueError as error:  # pydantic's, of the settings themselves
        told = str(error)

    hidden = password.strip()
    assert len(hidden) < 6 or hidden not in told


@pytest.mark.parametrize("data", [DEEP, b"{" * 50_000, b"[" * 900 + b"]" * 900])
def test_depth_exhausts_no_parser(data):
    only(MalformedTaskError, decode, data)
    message = b'{"task_id":"t","task_name":"bill","kwargs":{"order_id":' + data
    only(MalformedTaskError, decode, message)
    assert decoding.result_of(data) is None or data.endswith(b"]")
    assert attempts.attempts_of(data) == ()
