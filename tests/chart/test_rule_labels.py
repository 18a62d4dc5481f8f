"""Which labels alerts and recorded series have: by these, alerts are routed, grouped and silenced.

A label too many splits one alert into several, or says what is none of its business.
"""

import json
import re

import yaml
from tests.chart.test_rules import SCENARIOS, Scenario

RELEASE, QUEUE, ENTRY = {"namespace", "release"}, {"queue"}, {"entry"}
LABELS = {
    **dict.fromkeys(
        (
            *("DulySchedulerAbsent", "DulyTicksMissing", "DulyTicksLate", "DulyEntriesUnreadable"),
            *("DulyWorkersAbsent", "DulyOrdersUnreadable", "DulyQueuesNotExported"),
            "DulyBrokerErrors",
        ),
        RELEASE,
    ),
    **dict.fromkeys(
        (
            *("DulyTicksSkipped", "DulyTicksSkippedInARow", "DulyTicksUnmetFast"),
            "DulyTicksUnmetSlow",
        ),
        RELEASE | ENTRY,
    ),
    **dict.fromkeys(
        (
            *("DulyQueueUnserved", "DulyTasksFailing", "DulyTasksArchived", "DulyArchiveDropping"),
            *("DulyTasksQuarantined", "DulyTasksWaitLong", "DulyBacklogOld", "DulyQueuePaused"),
            *("DulyQueueFull", "DulyQueueUnreadable", "DulyWorkersDying", "DulyLeasesLost"),
            *("DulyTasksStuck", "DulyTasksOrphaned"),
        ),
        RELEASE | QUEUE,
    ),
    "DulyDueTasksLate": RELEASE | QUEUE | {"state"},
    "DulyEventLoopBlocked": RELEASE | {"job"},
    "DulyBrokerMemory": RELEASE | {"node"},
    "DulyScaledToMaximum": {"namespace", "horizontalpodautoscaler"},
    "queue:duly_tasks:rate5m": RELEASE | QUEUE | {"outcome"},
    "queue:duly_queue_tasks:max": RELEASE | QUEUE | {"state"},
}
"""Alert or recorded series → all its labels beside its severity. By these an alert is routed and
silenced, and one more splits it. Recorded series that are not named: the release, and what their
name begins with."""
RECORDED = [
    ("duly_queue_paused", 'queue="default"', "0…"),
    ("duly_queue_oldest_waiting_seconds", 'queue="default"', "20…"),
    ("duly_queue_archive_dropped_total", 'queue="default"', "7…"),
    ("duly_queue_crashed_total", 'queue="default"', "7…"),
    ("duly_task_wait_seconds_bucket", 'queue="default", kind="note", le="+Inf"', "0+60…"),
    ("duly_task_duration_seconds_bucket", 'queue="default", kind="note", le="+Inf"', "0+60…"),
]
"""What every recorded series needs beside what is healthy."""


def labelled(selector, names, minutes):
    """Return a test that series have these labels and, what is left without them, no other one."""
    has = ", ".join(f'{name}!=""' for name in sorted(names))
    series = f"{selector[:-1]}, {has}}}"
    return {
        "expr": f"group without ({', '.join(sorted(names))}) ({series})",
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


def play(promtool, rules_file, tmp_path, tests):
    """Let promtool play tests against the rules."""
    file = tmp_path / "labels.yaml"
    content = {"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(json.dumps(content))
    promtool("test", "rules", str(file))


def test_firing_alerts_have_the_labels_that_are_declared(promtool, rules_file, tmp_path):
    played = []
    for scenario in (scenario for scenario in SCENARIOS if scenario.firing):
        firing = sorted(scenario.firing)
        played.append(scenario.as_promtool())
        played[-1]["promql_expr_test"] = [
            labelled(
                f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
                LABELS[alert] | {"alertname", "alertstate", "severity"},
                scenario.at,
            )
            for alert in firing
        ]

    play(promtool, rules_file, tmp_path, played)


def test_recorded_series_have_the_labels_that_are_declared(
    promtool, rules_file, rules_text, tmp_path
):
    groups = yaml.safe_load(rules_text)["groups"]
    names = [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]
    played = Scenario("All is recorded", [], 60, RECORDED).as_promtool()
    played["promql_expr_test"] = [
        labelled(f'{{__name__="{name}"}}', LABELS.get(name, RELEASE | {name.partition(":")[0]}), 60)
        for name in names
    ]
    play(promtool, rules_file, tmp_path, [played])


def test_every_label_that_is_declared_is_of_a_rule_that_is_shipped(rules_text):
    groups = yaml.safe_load(rules_text)["groups"]
    rules = {rule.get("alert") or rule["record"]: rule for each in groups for rule in each["rules"]}

    assert LABELS.keys() - rules.keys() == set()
    for name, rule in rules.items():
        texts = " ".join(rule.get("annotations", {}).values())
        shown = set(re.findall(r"\$labels\.(\w+)", texts))
        assert shown <= LABELS.get(name, set()), name
