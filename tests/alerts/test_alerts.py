"""A few alerts, provoked for real; `make alerts` provokes all of them, which takes minutes."""

import json
from pathlib import Path

import pytest

from duly.testing.environment import in_ci

HERE = Path(__file__).parent
SMOKE = {"DulyTasksArchived", "DulyQueueUnserved", "DulyTasksQuarantined"}


@pytest.fixture
def alerts(monkeypatch):
    """The modules of the driver, which is a program and no package."""
    monkeypatch.syspath_prepend(str(HERE))
    import alerting
    import provocations
    import provoke
    import scaling

    class Alerts:
        PROVOCATIONS, NOT_PROVOKED = provocations.PROVOCATIONS, provocations.NOT_PROVOKED
        missing, run = staticmethod(alerting.missing), staticmethod(provoke.provoke)
        FACTOR, names = provoke.FACTOR, staticmethod(scaling.names)
        shipped, scaled = staticmethod(scaling.shipped), staticmethod(scaling.scaled)

    return Alerts


def test_every_shipped_alert_has_a_provocation_or_a_reason(alerts):
    provoked = [name for one in alerts.PROVOCATIONS for name in one.alerts]

    assert sorted([*provoked, *alerts.NOT_PROVOKED]) == sorted(alerts.names())


def test_the_figures_are_those_of_the_provocations(alerts):
    measured = json.loads((HERE / "measured.json").read_text())

    assert {name: one["how"] for name, one in measured["alerts"].items()} == {
        name: one.how for one in alerts.PROVOCATIONS for name in one.alerts
    }
    assert measured["not_provoked"] == alerts.NOT_PROVOKED
    assert measured["factor"] == alerts.FACTOR


def test_times_are_divided_and_thresholds_are_not(alerts):
    rules = {rule.get("alert"): rule for rule in alerts.scaled(alerts.shipped(), 60)[0]["rules"]}

    assert "[360000ms] offset 5000ms)) > 72" in rules["DulyTicksMissing"]["expr"]
    assert rules["DulyBacklogOld"]["for"] == "5000ms"
    assert "> 300" in rules["DulyBacklogOld"]["expr"]
    assert "for" not in rules["DulyTasksArchived"]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_alerts_fire_and_are_resolved(alerts, tmp_path):
    if missing := alerts.missing():
        if in_ci():
            pytest.fail(f"CI must have {', '.join(missing)} (Debian's packages)")
        pytest.skip(f"not installed: {', '.join(missing)} (Debian's packages)")
    chosen = [one for one in alerts.PROVOCATIONS if set(one.alerts) <= SMOKE]

    found = await alerts.run(tmp_path, chosen, workers=["main", "orders", "unserved"])

    assert found.keys() == SMOKE
