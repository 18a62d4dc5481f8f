from datetime import UTC, datetime

import pytest

from duly.engine.inspection.fingerprints import fingerprint, normalised
from duly.task import Attempt, AttemptOutcome, Task, TaskState

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
TRACEBACK = """Traceback (most recent call last):
  File "/app/duly_worker/handlers/orders.py", line {line}, in check
    fetch(order)
  File "/usr/lib/python3.13/site-packages/sqlalchemy/engine.py", line 9, in execute
    raise error
"""


def failed(error, *, traceback="", kind="check"):
    attempt = Attempt(
        number=1, outcome=AttemptOutcome.FAILED, at=NOON, error=error, traceback=traceback
    )
    return Task(
        id="x", queue="default", kind=kind, state=TaskState.ARCHIVED, history=(attempt,)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("order 17 not found", "order 4711 not found", id="numbers"),
        pytest.param("no user 'ann'", 'no user "bo"', id="quoted"),
        pytest.param("mail to a@x.org failed", "mail to b@y.net failed", id="addresses"),
        pytest.param(
            "run 8d7f2c1e-0000-4000-8000-000000000001",
            "run 9d7f2c1e-0000-4000-8000-000000000002",
            id="uuids",
        ),
        pytest.param("object at 0x7f00", "object at 0x7fff", id="addresses in memory"),
    ],
)
def test_what_varies_is_no_difference(one, other):
    assert normalised(one) == normalised(other)
    assert fingerprint(failed(f"Error: {one}")) == fingerprint(failed(f"Error: {other}"))


def test_the_innermost_own_frame_counts_and_not_its_line():
    one = failed("Gone: a", traceback=TRACEBACK.format(line=10))
    other = failed("Gone: something else", traceback=TRACEBACK.format(line=99))

    assert fingerprint(one) == fingerprint(other)


def test_kind_and_exception_make_a_difference():
    marks = {
        fingerprint(failed("Gone: a")),
        fingerprint(failed("Lost: a")),
        fingerprint(failed("Gone: a", kind="other")),
    }

    assert len(marks) == 3
