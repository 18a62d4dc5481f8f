"""In which situation which alert fires; those that are not named stay silent in it.

promtool plays each scenario against the rules of the release "shop" in the namespace "jobs". An
alert that no scenario provokes fails the test, as does one that no scenario keeps silent.
"""

import json
from dataclasses import dataclass, field

import yaml

OURS = 'namespace="jobs", release="shop", instance="10.0.0.1:9000"'
LAG = "duly_tick_lag_seconds_bucket"
"""Series are (metric, labels, values): as promtool has them, with "…" for "to the end"."""
HEALTHY = [
    ("duly_build_info", 'service="scheduler"', "1…"),
    ("duly_worker_concurrency", "", "10…"),
    ("duly_queues_exported", "", "1…"),
    ("duly_ticks_total", 'entry="check", outcome="enqueued"', "0+12…"),
    ("duly_ticks_total", 'entry="check", outcome="skipped"', "0…"),
    ("duly_ticks_total", 'entry="check", outcome="paused"', "0…"),
    ("duly_ticks_unmet_total", 'entry="check"', "0…"),
    ("duly_queue_servers", 'queue="default"', "2…"),
    ("duly_queue_tasks", 'queue="default", state="waiting"', "3…"),
    ("duly_queue_max_length", 'queue="default"', "100…"),
    ("duly_tasks_total", 'queue="default", kind="note", outcome="succeeded"', "0+60…"),
    ("duly_tasks_total", 'queue="default", kind="note", outcome="retried"', "0+1…"),
]
"""What runs in every scenario, unless it says `without`."""
NEIGHBOURS = [
    'duly_build_info{namespace="jobs", release="other", service="scheduler"}',
    'duly_worker_concurrency{namespace="elsewhere", release="shop"}',
]
"""Other releases, which must hide nothing of ours."""


def autoscaler(name, current, most, least):
    labels = f'{{namespace="jobs", horizontalpodautoscaler="{name}", instance="10.0.0.2:8080"}}'
    values = {
        "status_current_replicas": current,
        "spec_max_replicas": most,
        "spec_min_replicas": least,
    }
    return [
        (f"kube_horizontalpodautoscaler_{what}{labels}", f"{value}…")
        for what, value in values.items()
    ]


@dataclass
class Scenario:
    """What happens, which alerts fire then, and after how many minutes; the series that tell it."""

    name: str
    firing: list[str]
    at: int
    series: list[tuple[str, str, str]]
    without: list[object] = field(default_factory=list)
    """Healthy series that are left out: a metric, or a metric with its labels."""
    rawseries: list[tuple[str, str]] = field(default_factory=list)
    """Series that are not ours, with all their labels."""

    def as_promtool(self):
        end = f"x{self.at + 5}"
        healthy = [
            (metric, labels, values)
            for metric, labels, values in HEALTHY
            if metric not in self.without and (metric, labels) not in self.without
        ]
        series = [
            (f"{metric}{{{', '.join(filter(None, [OURS, labels]))}}}", values)
            for metric, labels, values in [*healthy, *self.series]
        ]
        series += [(neighbour, "1…") for neighbour in NEIGHBOURS] + self.rawseries
        return {
            "name": self.name,
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values.replace("…", end)} for name, values in series
            ],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{self.at}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}"}}', "value": 1}
                        for name in sorted(self.firing)
                    ],
                },
            ],
        }


def rare(name, firing, at, enqueued, unmet):
    """A scenario of an entry that is due less often than the windows of its alerts are long."""
    outcomes = {"enqueued": enqueued, "skipped": "0…", "missed": "0…", "caught_up": "0…"}
    series = [
        ("duly_ticks_total", f'entry="rare", outcome="{outcome}"', values)
        for outcome, values in outcomes.items()
    ]
    return Scenario(name, firing, at, [*series, ("duly_ticks_unmet_total", 'entry="rare"', unmet)])


SCENARIOS = [
    Scenario(
        "A healthy system is silent",
        [],
        30,
        [
            ("duly_queue_paused", 'queue="default"', "0…"),
            ("duly_queue_oldest_waiting_seconds", 'queue="default"', "20…"),
            ("duly_queue_overdue_seconds", 'queue="default", state="retry"', "2…"),
            ("duly_queue_readable", 'queue="default"', "1…"),
            ("duly_queue_unowned", 'queue="default"', "0…"),
            ("duly_queue_archive_dropped_total", 'queue="default"', "7…"),
            ("duly_tasks_total", 'queue="default", kind="note", outcome="archived"', "0…"),
            ("duly_tasks_quarantined_total", 'queue="default", reason="crashes"', "0…"),
            ("duly_tasks_recovered_total", 'queue="default"', "0…"),
            ("duly_lease_lost_total", 'queue="default"', "0…"),
            ("duly_tasks_stuck", 'queue="default"', "0…"),
            ("duly_tasks_orphaned", 'queue="default"', "0…"),
            ("duly_entries_errors_total", "", "0…"),
            ("duly_broker_errors_total", "", "0…"),
            ("duly_broker_memory_bytes", 'node="a:1"', "700…"),
            ("duly_broker_memory_limit_bytes", 'node="a:1"', "1000…"),
            (LAG, 'entry="check", le="0.1"', "0+12…"),
            (LAG, 'entry="check", le="+Inf"', "0+12…"),
            ("duly_event_loop_lag_seconds_bucket", 'job="worker", le="0.1"', "0+120…"),
            ("duly_event_loop_lag_seconds_bucket", 'job="worker", le="+Inf"', "0+120…"),
            ("duly_task_wait_seconds_bucket", 'queue="default", kind="note", le="0.1"', "0+60…"),
            ("duly_task_wait_seconds_bucket", 'queue="default", kind="note", le="+Inf"', "0+60…"),
        ],
    ),
    Scenario(
        "No scheduler, while another release has one",
        ["DulySchedulerAbsent"],
        10,
        [],
        without=["duly_build_info"],
    ),
    Scenario(
        "No worker, while the same release in another namespace has one",
        ["DulyWorkersAbsent"],
        10,
        [],
        without=["duly_worker_concurrency"],
    ),
    Scenario(
        "Ticks stop that came every five seconds",
        ["DulyTicksMissing"],
        420,
        [
            ("duly_ticks_total", 'entry="check", outcome="enqueued"', "0+12x400 4800x30"),
        ],
        without=[("duly_ticks_total", 'entry="check", outcome="enqueued"')],
    ),
    Scenario(
        "Ticks stop because every entry is paused, or come rarely",
        [],
        420,
        [
            ("duly_ticks_total", 'entry="check", outcome="enqueued"', "0+12x400 4800x30"),
            ("duly_ticks_total", 'entry="check", outcome="paused"', "0x400 0+12x30"),
        ],
        without=["duly_ticks_total"],
    ),
    Scenario(
        "A fifth of the ticks is skipped",
        ["DulyTicksSkipped", "DulyTicksUnmetFast", "DulyTicksUnmetSlow"],
        60,
        [
            ("duly_ticks_total", 'entry="check", outcome="enqueued"', "0+12…"),
            ("duly_ticks_total", 'entry="check", outcome="skipped"', "0+3…"),
        ],
        without=[
            ("duly_ticks_total", 'entry="check", outcome="enqueued"'),
            ("duly_ticks_total", 'entry="check", outcome="skipped"'),
        ],
    ),
    Scenario(
        "Every tick of an hourly entry is skipped, seen long after the last one",
        ["DulyTicksSkipped", "DulyTicksUnmetSlow"],
        230,
        [
            ("duly_ticks_total", 'entry="hourly", outcome="enqueued"', "1…"),
            ("duly_ticks_total", 'entry="hourly", outcome="skipped"', "0x59 1x59 2x59 3…"),
        ],
    ),
    Scenario(
        "Ticks of an entry that is due every five minutes were skipped an hour ago",
        ["DulyTicksUnmetSlow"],
        180,
        [
            ("duly_ticks_total", 'entry="often", outcome="enqueued"', "0+0.2…"),
            ("duly_ticks_total", 'entry="often", outcome="skipped"', "0x100 1x10 8…"),
            ("duly_ticks_met_total", 'entry="often"', "0+0.2…"),
        ],
    ),
    Scenario(
        "Three ticks in a row were skipped by all schedulers",
        ["DulyTicksSkippedInARow"],
        5,
        [
            ("duly_ticks_skipped_in_a_row", 'entry="check", pod="a"', "4…"),
            ("duly_ticks_skipped_in_a_row", 'entry="check", pod="b"', "3…"),
            ("duly_ticks_skipped_in_a_row", 'entry="other", pod="a"', "5…"),
            ("duly_ticks_skipped_in_a_row", 'entry="other", pod="b"', "0…"),
        ],
    ),
    Scenario(
        "A twentieth of the ticks is skipped, the budget is spent slowly",
        ["DulyTicksUnmetSlow"],
        60,
        [("duly_ticks_total", 'entry="check", outcome="skipped"', "0+1…")],
        without=[("duly_ticks_total", 'entry="check", outcome="skipped"')],
    ),
    Scenario(
        "One tick of an hour is not met, which the budget allows",
        [],
        120,
        [("duly_ticks_unmet_total", 'entry="check"', "0x30 1…")],
        without=["duly_ticks_unmet_total"],
    ),
    Scenario(
        "Nothing that is due succeeds",
        ["DulyTicksUnmetFast", "DulyTicksUnmetSlow"],
        60,
        [("duly_ticks_unmet_total", 'entry="check"', "0+12…")],
        without=["duly_ticks_unmet_total"],
    ),
    rare("What is due rarely has just become due", [], 104, "0x100 1…", "0…"),
    rare("What is due every hour has become due", [], 125, "0x60 1x59 2…", "0…"),
    rare("A new scheduler claims what is due rarely", [], 110, "_x100 0x5 1…", "_x100 0…"),
    rare(
        "What is due every hour had not succeeded an hour later",
        ["DulyTicksUnmetFast"],
        125,
        "0x60 1x59 2…",
        "0x120 1…",
    ),
    Scenario(
        "Ticks are late",
        ["DulyTicksLate"],
        40,
        [
            (LAG, 'entry="check", le="1.0"', "0+6…"),
            (LAG, 'entry="check", le="5.0"', "0+12…"),
            (LAG, 'entry="check", le="+Inf"', "0+12…"),
        ],
    ),
    Scenario(
        "The entries cannot be read",
        ["DulyEntriesUnreadable"],
        20,
        [("duly_entries_errors_total", "", "0+2…")],
    ),
    Scenario(
        "Tasks wait in a queue without workers",
        ["DulyQueueUnserved"],
        20,
        [
            ("duly_queue_servers", 'queue="low"', "0…"),
            ("duly_queue_tasks", 'queue="low", state="waiting"', "7…"),
        ],
    ),
    Scenario(
        "A queue without workers is empty",
        [],
        20,
        [
            ("duly_queue_servers", 'queue="low"', "0…"),
            ("duly_queue_tasks", 'queue="low", state="waiting"', "0…"),
        ],
    ),
    Scenario(
        "The database of the orders is down",
        ["DulyOrdersUnreadable"],
        20,
        [("duly_orders_source_errors_total", "", "0+6…")],
    ),
    Scenario(
        "A quarter of the attempts fails",
        ["DulyTasksFailing"],
        20,
        [
            ("duly_tasks_total", 'queue="low", kind="note", outcome="succeeded"', "0+30…"),
            ("duly_tasks_total", 'queue="low", kind="note", outcome="retried"', "0+10…"),
        ],
    ),
    Scenario(
        "A task is archived by a series that began at zero",
        ["DulyTasksArchived"],
        25,
        [("duly_tasks_total", 'queue="low", kind="note", outcome="archived"', "0x20 1…")],
    ),
    Scenario(
        "A task is archived by a series that begins with it",
        ["DulyTasksArchived"],
        25,
        [("duly_tasks_total", 'queue="low", kind="new", outcome="archived"', "_x20 1…")],
    ),
    Scenario(
        "The archive drops tasks",
        ["DulyArchiveDropping"],
        30,
        [("duly_queue_archive_dropped_total", 'queue="default"', "5x20 9…")],
    ),
    Scenario(
        "The archive dropped tasks before another scheduler took over",
        [],
        30,
        [
            ("duly_queue_archive_dropped_total", 'queue="default", pod="a"', "9x20"),
            ("duly_queue_archive_dropped_total", 'queue="default", pod="b"', "_x20 9…"),
        ],
    ),
    Scenario(
        "A task is quarantined after three crashes",
        ["DulyTasksQuarantined"],
        25,
        [("duly_tasks_quarantined_total", 'queue="default", reason="crashes"', "0x20 1…")],
    ),
    Scenario(
        "Tasks wait long",
        ["DulyTasksWaitLong"],
        30,
        [
            ("duly_task_wait_seconds_bucket", 'queue="low", kind="note", le="15.0"', "0+9…"),
            ("duly_task_wait_seconds_bucket", 'queue="low", kind="note", le="60.0"', "0+10…"),
            ("duly_task_wait_seconds_bucket", 'queue="low", kind="note", le="+Inf"', "0+10…"),
        ],
    ),
    Scenario(
        "A task has waited for ten minutes",
        ["DulyBacklogOld"],
        20,
        [("duly_queue_oldest_waiting_seconds", 'queue="default"', "600…")],
    ),
    Scenario(
        "A task has waited for ten minutes in a queue that was just paused",
        [],
        20,
        [
            ("duly_queue_oldest_waiting_seconds", 'queue="default"', "600…"),
            ("duly_queue_paused", 'queue="default"', "1…"),
        ],
    ),
    Scenario(
        "A group is due that nobody merges",
        ["DulyDueTasksLate"],
        20,
        [("duly_queue_overdue_seconds", 'queue="default", state="aggregating"', "0+60…")],
    ),
    Scenario(
        "A queue is paused for two hours",
        ["DulyQueuePaused"],
        120,
        [("duly_queue_paused", 'queue="default"', "1…")],
    ),
    Scenario(
        "A queue is nearly full, exported twice while a scheduler takes over",
        ["DulyQueueFull"],
        20,
        [
            ("duly_queue_tasks", 'queue="low", state="waiting", pod="a"', "80…"),
            ("duly_queue_tasks", 'queue="low", state="active", pod="a"', "5…"),
            ("duly_queue_max_length", 'queue="low"', "100…"),
        ],
    ),
    Scenario(
        "A queue is half full and exported twice",
        [],
        20,
        [
            ("duly_queue_tasks", 'queue="low", state="waiting", pod="a"', "50…"),
            ("duly_queue_tasks", 'queue="low", state="waiting", pod="b"', "50…"),
            ("duly_queue_max_length", 'queue="low"', "100…"),
        ],
    ),
    Scenario(
        "A queue cannot be read",
        ["DulyQueueUnreadable"],
        20,
        [("duly_queue_readable", 'queue="low"', "0…")],
    ),
    Scenario(
        "No scheduler exports the queues",
        ["DulyQueuesNotExported"],
        20,
        [("duly_queues_exported", "", "0…")],
        without=[
            "duly_queues_exported",
            "duly_queue_tasks",
            "duly_queue_servers",
            "duly_queue_max_length",
        ],
    ),
    Scenario(
        "Workers die",
        ["DulyWorkersDying"],
        25,
        [("duly_tasks_recovered_total", 'queue="default"', "0x15 10…")],
    ),
    Scenario(
        "Two tasks are recovered",
        [],
        25,
        [("duly_tasks_recovered_total", 'queue="default"', "0x15 2…")],
    ),
    Scenario(
        "A lease is lost",
        ["DulyLeasesLost"],
        25,
        [("duly_lease_lost_total", 'queue="default"', "0x20 1…")],
    ),
    Scenario(
        "A handler does not stop",
        ["DulyTasksStuck"],
        20,
        [("duly_tasks_stuck", 'queue="low"', "1…")],
    ),
    Scenario(
        "A handler stops after five minutes",
        [],
        20,
        [("duly_tasks_stuck", 'queue="low"', "1x5 0…")],
    ),
    Scenario(
        "A task is active and nobody runs it",
        ["DulyTasksOrphaned"],
        20,
        [("duly_tasks_orphaned", 'queue="low"', "1…")],
    ),
    Scenario(
        "Tasks of a dead worker are not recovered",
        ["DulyTasksOrphaned"],
        20,
        [("duly_queue_unowned", 'queue="low"', "4…")],
    ),
    Scenario(
        "The event loop is blocked",
        ["DulyEventLoopBlocked"],
        30,
        [
            ("duly_event_loop_lag_seconds_bucket", 'job="worker", le="1.0"', "0+9…"),
            ("duly_event_loop_lag_seconds_bucket", 'job="worker", le="5.0"', "0+10…"),
            ("duly_event_loop_lag_seconds_bucket", 'job="worker", le="+Inf"', "0+10…"),
        ],
    ),
    Scenario(
        "Calls to the broker fail",
        ["DulyBrokerErrors"],
        20,
        [("duly_broker_errors_total", "", "0+30…")],
    ),
    Scenario(
        "The broker is nearly full",
        ["DulyBrokerMemory"],
        20,
        [
            ("duly_broker_memory_bytes", 'node="a:1"', "900…"),
            ("duly_broker_memory_limit_bytes", 'node="a:1"', "1000…"),
        ],
    ),
    Scenario(
        "The broker has no limit",
        [],
        20,
        [
            ("duly_broker_memory_bytes", 'node="a:1"', "900…"),
            ("duly_broker_memory_limit_bytes", 'node="a:1"', "0…"),
        ],
    ),
    Scenario(
        "KEDA is at its maximum",
        ["DulyScaledToMaximum"],
        30,
        [],
        rawseries=autoscaler("keda-hpa-shop-duly-worker-low", "10", "10", "0"),
    ),
    Scenario(
        "Somebody else's autoscaler is at its maximum, and ours is fixed",
        [],
        30,
        [],
        rawseries=autoscaler("web", "10", "10", "1")
        + autoscaler("shop-duly-worker-low", "3", "3", "3"),
    ),
]


def test_promtool_accepts_the_rules(promtool, rules_file):
    promtool("check", "rules", str(rules_file))


def test_alerts_fire_when_they_should_and_only_then(promtool, rules_file, tmp_path):
    file = tmp_path / "scenarios.yaml"
    content = {
        "rule_files": [str(rules_file)],
        "evaluation_interval": "1m",
        "tests": [scenario.as_promtool() for scenario in SCENARIOS],
    }
    file.write_text(json.dumps(content))

    promtool("test", "rules", str(file))


def test_every_alert_is_provoked_once_and_silent_once(rules_text):
    groups = yaml.safe_load(rules_text)["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    firing = [set(scenario.firing) for scenario in SCENARIOS]

    assert alerts == set().union(*firing)
    assert all(any(alert not in some for some in firing) for alert in alerts)


def test_the_chart_renders_the_rules_for_its_release(render, rules_text):
    values = {"metrics": {"prometheusRule": {"enabled": True}}}
    rendered = render(values=values).one("PrometheusRule")
    name, namespace = rendered["metadata"]["name"], "jobs"

    expected = yaml.safe_load(rules_text)["groups"]
    for group, wanted in zip(rendered["spec"]["groups"], expected, strict=True):
        for rule, one in zip(group["rules"], wanted["rules"], strict=True):
            text = one["expr"].replace("shop-duly", name).replace('"jobs"', f'"{namespace}"')
            release = rule["expr"].partition('release="')[2].partition('"')[0]
            assert rule["expr"].strip() == text.replace('"shop"', f'"{release}"').strip()


def test_every_selector_names_the_release(chart):
    groups = yaml.safe_load((chart / "files/rules/duly.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        for selector in rule["expr"].split("{")[1:]:
            assert selector.startswith(("$release", "$fullname")) or "$release}" in selector, rule
