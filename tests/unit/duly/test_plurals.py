import pytest

from duly.plurals import plural


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 crashes"), (1, "1 crash"), (1_240, "1,240 crashes")]
)
def test_plural(number, words):
    assert plural(number, "crash", "crashes") == words
