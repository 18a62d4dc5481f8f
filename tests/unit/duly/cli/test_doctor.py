"""`duly doctor`: levels and exit codes; `test_diagnosis.py` has what it looks at."""

import pytest

from duly.cli import diagnosis
from duly.cli.diagnosis import Finding
from duly.engine.inspection.health import Level


@pytest.fixture
def findings(monkeypatch):
    """Has these found, of these levels."""

    def found(*levels: Level) -> None:
        made = [Finding(checked="broker", level=each, sentence=f"is {each}") for each in levels]
        monkeypatch.setattr(diagnosis, "diagnose", lambda _: made)

    return found


@pytest.mark.parametrize(
    ("levels", "options", "ends"),
    [
        ([Level.OK, Level.NOTE], ["--strict"], (0, "2 findings, nothing is wrong")),
        ([Level.OK, Level.WARN], [], (0, "2 findings: 0 bad, 1 warning")),
        ([Level.OK, Level.WARN], ["--strict"], (1, "2 findings: 0 bad, 1 warning")),
        ([Level.BAD, Level.WARN], [], (1, "2 findings: 1 bad, 1 warning")),
    ],
)
def test_the_worst_finding_decides(duly, findings, levels, options, ends):
    findings(*levels)

    outcome = duly("doctor", *options)

    assert (outcome.exit_code, outcome.out.splitlines()[-1]) == ends


def test_json_has_every_finding(duly, findings):
    findings(Level.BAD)

    outcome = duly("doctor", "--json")

    assert outcome.exit_code == 1
    assert outcome.json == {
        "healthy": False,
        "findings": [{"checked": "broker", "level": "bad", "sentence": "is bad"}],
    }
