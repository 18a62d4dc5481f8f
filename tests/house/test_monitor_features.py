"""The page of the monitor's features names tests that exist, in every row."""

import re

ROW = re.compile(r"^\| (?!row|feature|---)(.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_feature_of_the_monitor_names_a_test_that_exists(texts):
    rows = ROW.findall(texts["docs/monitor-features.md"])
    named = [TEST.search(row) for row in rows]

    assert [row for row, test in zip(rows, named, strict=True) if test is None] == []
    missing = {
        f"{test[1]}::{test[2]}"
        for test in named
        if not re.search(rf"^(async )?def {test[2]}\(", texts.get(test[1], ""), re.MULTILINE)
    }
    assert missing == set()
    assert len(rows) >= 60


def test_every_page_of_asynqmon_has_its_row(texts):
    rows = re.findall(r"^\| (N\d+) \|", texts["docs/monitor-features.md"], re.MULTILINE)

    assert rows == [f"N{number}" for number in range(1, 31) if number != 28]
