"""What our dashboards show."""

from grafana import Dashboard, Panel, Row


def rate(counter: str, by: str = "", more: str = "queue") -> str:
    """Return the PromQL of a counter's rate, added up by labels."""
    return f"sum by ({by}) (rate({counter}{{{more}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str, more: str = "queue") -> str:
    """Return the PromQL of a quantile of a histogram, by labels."""
    buckets = f"rate({histogram}_bucket{{{more}}}[$__rate_interval])"
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


DUE = 'duly_ticks_total{,outcome!="paused"}'
LATE = 'duly_ticks_total{,outcome=~"skipped|missed|caught_up"}'
OVERVIEW = Dashboard(
    uid="duly-overview",
    title="duly: overview",
    description="Is what is due done in time, and if not, where to look.",
    rows=(
        Row(
            "The objective: 99 % of the due slots are met",
            (
                Panel(
                    "Slots met",
                    "Share of the due slots whose task succeeded before the next one began, in the "
                    "time that is shown. Skipped and missed slots count against it.",
                    "percentunit",
                    [((f"clamp_min(1 - (sum(increase({LATE}[$__range])) + "
                       f"sum(increase(duly_ticks_unmet_total{{}}[$__range]))) / "
                       f"sum(increase({DUE}[$__range])), 0)"), "met")],
                    "stat", 6, most=1,
                    thresholds=(0.95, 0.99), colors=("red", "yellow", "green"),
                ),
                Panel(
                    "Budget spent",
                    "How many times faster than allowed the budget of 1 % is spent, by entry; the "
                    "alerts begin at 14.4 within an hour, and at 6 within six hours.",
                    "short",
                    [("max by (namespace, release, entry) (entry:duly_ticks_unmet:ratio_1h{}) / 0.01", "{{entry}}, an hour"),
                     ("max by (namespace, release, entry) (entry:duly_ticks_unmet:ratio_6h{}) / 0.01", "{{entry}}, six hours")],
                    width=9,
                ),
                Panel(
                    "How late tasks of ticks succeed",
                    "How long after the beginning of its slot the task of a tick succeeded: half of "
                    "them, and 19 of 20.",
                    "s",
                    [(quantile(0.5, "duly_tick_completion_seconds", "entry", ""), "{{entry}}, half"),
                     (quantile(0.95, "duly_tick_completion_seconds", "entry", ""), "{{entry}}, 95 %")],
                    width=9,
                ),
            ),
        ),
        Row(
            "What runs",
            (
                Panel("Schedulers", "Schedulers that Prometheus scrapes.", "short",
                      [('sum(duly_build_info{,service="scheduler"})', "schedulers")], "stat", 4),
                Panel("Workers", "Workers that Prometheus scrapes.", "short",
                      [('sum(duly_build_info{,service="worker"})', "workers")], "stat", 4),
                Panel("Busy", "Share of the workers' slots that run a task.", "percentunit",
                      [("sum(duly_tasks_running{}) / sum(duly_worker_concurrency{})", "busy")],
                      "stat", 4, thresholds=(0.8, 0.95), most=1),
                Panel("Waiting", "Tasks that wait, in all queues.", "short",
                      [('sum(max by (namespace, release, queue) (duly_queue_tasks{,state="waiting"}))', "waiting")],
                      "stat", 4),
                Panel("Oldest waiting", "Age of the task that has waited longest.", "s",
                      [("max(duly_queue_oldest_waiting_seconds{})", "oldest")],
                      "stat", 4, thresholds=(60, 300)),
                Panel("Paused queues", "Queues that somebody has paused.", "short",
                      [("sum(max by (namespace, release, queue) (duly_queue_paused{}))", "paused")],
                      "stat", 4, thresholds=(1,)),
            ),
            height=4,
        ),
        Row(
            "How it goes",
            (
                Panel("Attempts by outcome", "What became of tasks, per second.", "ops",
                      [(rate("duly_tasks_total", "outcome", ""), "{{outcome}}")], width=12, stacked=True),
                Panel("Failed share", "Share of the attempts that failed, by queue.", "percentunit",
                      [(('sum by (queue) (rate(duly_tasks_total{,outcome=~"retried|archived"}[$__rate_interval]))'
                        " / sum by (queue) (rate(duly_tasks_total{}[$__rate_interval]))"), "{{queue}}")],
                      width=12, thresholds=(0.05, 0.1), most=1),
            ),
        ),
        Row(
            "The monitor, where one runs",
            (
                Panel("The broker answers the monitor", "1 when the broker answered the last scrape.", "short",
                      [("min by (instance) (duly_monitor_broker_up{})", "{{instance}}")], width=8, most=1),
                Panel("Connections without a reader", "Connections that were ended because their clients read "
                      "nothing, within five minutes.", "short",
                      [("sum by (instance) (increase(duly_monitor_unread_connections_total{}[5m]))",
                        "{{instance}}")]),
                Panel("Memory", "Resident memory of each monitor.", "bytes",
                      [('process_resident_memory_bytes{} and on (instance) duly_build_info{,service="monitor"}',
                        "{{instance}}")]),
            ),
        ),
    ),
)  # fmt: skip

QUEUES = Dashboard(
    uid="duly-queues",
    title="duly: queues and workers",
    description="What waits, who works on it, and how long that takes.",
    by_queue=True,
    rows=(
        Row(
            "What the queues hold",
            (
                Panel("Tasks by state", "Tasks of the chosen queues.", "short",
                      [("sum by (state) (max by (namespace, release, queue, state) (duly_queue_tasks{queue}))",
                        "{{state}}")], stacked=True),
                Panel("Waiting", "Tasks that wait, by queue.", "short",
                      [('max by (namespace, release, queue) (duly_queue_tasks{queue,state="waiting"})', "{{queue}}")]),
                Panel("Oldest waiting", "Age of the task that has waited longest, and what is due and left where it is.", "s",
                      [("max by (namespace, release, queue) (duly_queue_oldest_waiting_seconds{queue})", "{{queue}}"),
                       ("max by (namespace, release, queue) (duly_queue_overdue_seconds{queue})", "{{queue}}, overdue")]),
                Panel("How full", "Waiting and active tasks as a share of the maximum length.", "percentunit",
                      [(('sum by (queue) (max by (namespace, release, queue, state) '
                        '(duly_queue_tasks{queue,state=~"waiting|active"}))'
                        " / sum by (queue) (max by (namespace, release, queue) (duly_queue_max_length{queue}))"),
                        "{{queue}}")], thresholds=(0.5, 0.8), most=1),
                Panel("Paused", "1 while a queue is paused.", "short",
                      [("max by (namespace, release, queue) (duly_queue_paused{queue})", "{{queue}}")], most=1),
                Panel("On their way to other queues",
                      "Successors and reports to joins in outboxes, and joins that wait for members.", "short",
                      [("max by (namespace, release, queue) (duly_queue_outbox{queue})", "{{queue}}, outbox"),
                       ("max by (namespace, release, queue) (duly_queue_joins{queue})", "{{queue}}, joins")]),
            ),
        ),
        Row(
            "How long tasks take",
            (
                Panel("Waits", "How long tasks waited until an attempt began: half, and 19 of 20.", "s",
                      [(quantile(0.5, "duly_task_wait_seconds", "queue"), "{{queue}}, half"),
                       (quantile(0.95, "duly_task_wait_seconds", "queue"), "{{queue}}, 95 %")]),
                Panel("Waits by kind", "19 of 20 tasks of a kind waited no longer.", "s",
                      [(quantile(0.95, "duly_task_wait_seconds", "kind"), "{{kind}}")]),
                Panel("Durations by kind", "19 of 20 attempts of a kind ran no longer. The dots are traced "
                      "attempts.", "s",
                      [(quantile(0.95, "duly_task_duration_seconds", "kind"), "{{kind}}")]),
            ),
        ),
        Row(
            "What workers do",
            (
                Panel("Attempts by outcome", "What became of tasks, per second.", "ops",
                      [(rate("duly_tasks_total", "outcome"), "{{outcome}}")], stacked=True),
                Panel("Running", "Attempts that run now, by kind.", "short",
                      [("sum by (kind) (duly_tasks_running{queue})", "{{kind}}")], stacked=True),
                Panel("Workers", "Live workers of each queue, and the tasks that they may run at once.", "short",
                      [("max by (namespace, release, queue) (duly_queue_servers{queue})", "{{queue}}, workers"),
                       ("max by (namespace, release, queue) (duly_queue_concurrency{queue})", "{{queue}}, slots")]),
                Panel("Not settled yet", "Outcomes that the broker does not have yet.", "short",
                      [("sum by (queue) (duly_tasks_unsettled{queue})", "{{queue}}")]),
                Panel("Active, but nobody runs them",
                      "Stuck attempts, tasks that a worker has not taken up, and tasks of dead workers.", "short",
                      [("max by (namespace, release, queue) (duly_tasks_stuck{queue})", "{{queue}}, stuck"),
                       ("max by (namespace, release, queue) (duly_tasks_orphaned{queue})", "{{queue}}, orphaned"),
                       ("max by (namespace, release, queue) (duly_queue_unowned{queue})", "{{queue}}, unowned")]),
                Panel("Deaths and quarantine", "Within five minutes: tasks recovered from dead workers, "
                      "leases lost, and tasks put aside.", "short",
                      [("sum by (queue) (increase(duly_tasks_recovered_total{queue}[5m]))",
                        "{{queue}}, recovered"),
                       ("sum by (queue) (increase(duly_lease_lost_total{queue}[5m]))", "{{queue}}, leases"),
                       ("sum by (queue, reason) (increase(duly_tasks_quarantined_total{queue}[5m]))",
                        "{{queue}}, {{reason}}")]),
            ),
        ),
        Row(
            "The processes of workers",
            (
                Panel("Memory", "Resident memory of each worker.", "bytes",
                      [('process_resident_memory_bytes{} and on (instance) duly_build_info{,service="worker"}',
                        "{{instance}}")]),
                Panel("CPU", "CPU time of each worker, in cores.", "short",
                      [(('rate(process_cpu_seconds_total{}[$__rate_interval]) and on (instance) '
                        'duly_build_info{,service="worker"}'), "{{instance}}")]),
                Panel("Lag of the event loop", "How late the loop was in one of a hundred looks.", "s",
                      [(quantile(0.99, "duly_event_loop_lag_seconds", "instance", ""), "{{instance}}")]),
            ),
        ),
    ),
)  # fmt: skip

SCHEDULER = Dashboard(
    uid="duly-scheduler",
    title="duly: scheduler and sweep",
    description="Whether the timetable is kept, and how the tasks of its ticks do.",
    rows=(
        Row(
            "Ticks",
            (
                Panel("Ticks by outcome", "What became of due slots, per minute.", "short",
                      [("60 * " + rate("duly_ticks_total", "outcome", ""), "{{outcome}}")], width=12, stacked=True),
                Panel("Ticks by entry", "Slots that were claimed, per minute.", "short",
                      [("60 * " + rate("duly_ticks_total", "entry", ""), "{{entry}}")], width=12),
                Panel("Lag", "How long after its slot began 9 of 10 ticks were claimed, by entry.", "s",
                      [(quantile(0.9, "duly_tick_lag_seconds", "entry", ""), "{{entry}}")], width=12),
                Panel("Skipped and missed", "Slots without a task of their own, within five minutes.", "short",
                      [('sum by (entry, outcome) (increase(duly_ticks_total{,outcome=~"skipped|missed"}[5m]))',
                        "{{entry}}, {{outcome}}")], width=12),
            ),
        ),
        Row(
            "The tasks of ticks",
            (
                Panel("Slots met", "Share of the due slots whose task succeeded in time, by entry.",
                      "percentunit",
                      [((f"clamp_min(1 - (sum by (entry) (rate({LATE}[$__rate_interval])) + "
                         f"sum by (entry) (rate(duly_ticks_unmet_total{{}}[$__rate_interval]))) / "
                         f"sum by (entry) (rate({DUE}[$__rate_interval])), 0)"),
                        "{{entry}}")], most=1),
                Panel("How late they succeed", "How long after the slot began 19 of 20 had succeeded.", "s",
                      [(quantile(0.95, "duly_tick_completion_seconds", "entry", ""), "{{entry}}")]),
                Panel("How long the check runs", "19 of 20 checks of pending orders ran no longer.", "s",
                      [(quantile(0.95, "duly_task_duration_seconds", "kind",
                                 ',kind="check_pending_orders"'), "{{kind}}")]),
            ),
        ),
        Row(
            "The schedulers",
            (
                Panel("Exports the queues", "1 for the scheduler that does.", "short",
                      [("duly_queues_exported{}", "{{instance}}")], width=6, most=1),
                Panel("Reading the queues", "How long the last reading of all figures took.", "s",
                      [("max by (instance) (duly_queues_read_seconds{})", "{{instance}}")], width=6),
                Panel("Errors", "Unexpected errors of loops, and files of entries that could not be read, within "
                      "five minutes.", "short",
                      [("sum by (loop) (increase(duly_loop_errors_total{}[5m]))", "{{loop}}"),
                       ("sum(increase(duly_entries_errors_total{}[5m]))", "entries")], width=6),
                Panel("Memory", "Resident memory of each scheduler.", "bytes",
                      [('process_resident_memory_bytes{} and on (instance) duly_build_info{,service="scheduler"}',
                        "{{instance}}")], width=6),
            ),
        ),
    ),
)  # fmt: skip

BROKER = Dashboard(
    uid="duly-broker",
    title="duly: broker and database",
    description="What duly depends on: how fast it answers, and how full it is. Each process measures latency and errors itself; "
    "a scheduler asks the nodes for memory, clients and counts; workers measure the source of the orders. What the stores say of "
    "themselves (disk, replication, PostgreSQL) comes from exporters: see Metrics of the stores in docs/telemetry.md.",
    rows=(
        Row(
            "The broker",
            (
                Panel("Latency", "How long the broker took to answer heartbeats and pings: half, and 99 of 100.",
                      "s",
                      [(quantile(0.5, "duly_broker_latency_seconds", "job", ""), "{{job}}, half"),
                       (quantile(0.99, "duly_broker_latency_seconds", "job", ""), "{{job}}, 99 %")]),
                Panel("Errors", "Calls that failed, per second.", "ops",
                      [(rate("duly_broker_errors_total", "job", ""), "{{job}}")]),
                Panel("Memory", "Memory of each node.", "bytes",
                      [("max by (namespace, release, node) (duly_broker_memory_bytes{})", "{{node}}")]),
                Panel("Limit of memory", "maxmemory of each node; 0: none.", "bytes",
                      [("max by (namespace, release, node) (duly_broker_memory_limit_bytes{})", "{{node}}")], "stat", zero="none"),
                Panel("Connections", "Clients of each node.", "short",
                      [("max by (namespace, release, node) (duly_broker_clients{})", "{{node}}")]),
                Panel("Queues that can be read", "0: a key of the queue holds what is not duly's.", "short",
                      [("max by (namespace, release, queue) (duly_queue_readable{})", "{{queue}}")], most=1),
            ),
        ),
        Row(
            "What the broker counts",
            (
                Panel("Processed and failed", "Attempts by the broker's own counts, per second.", "ops",
                      [("sum(max by (namespace, release, queue) (rate(duly_queue_processed_total{}[$__rate_interval])))",
                        "processed"),
                       ("sum(max by (namespace, release, queue) (rate(duly_queue_failed_total{}[$__rate_interval])))",
                        "failed")]),
                Panel("Crashed, archived, dropped", "Within five minutes, by queue.", "short",
                      [("max by (namespace, release, queue) (increase(duly_queue_crashed_total{}[5m]))",
                        "{{queue}}, crashed"),
                       ("max by (namespace, release, queue) (increase(duly_queue_archived_total{}[5m]))",
                        "{{queue}}, archived"),
                       ("max by (namespace, release, queue) (increase(duly_queue_archive_dropped_total{}[5m]))",
                        "{{queue}}, dropped")]),
                Panel("Joins given up", "Within five minutes, by queue.", "short",
                      [("max by (namespace, release, queue) (increase(duly_queue_joins_dropped_total{}[5m]))",
                        "{{queue}}")]),
            ),
        ),
        Row(
            "The source of the orders",
            (
                Panel("Pending orders", "How many orders a check finds.", "short",
                      [(rate("duly_orders_found_total", "", "") + " / "
                        + rate("duly_orders_sweeps_total", "", ""), "pending")]),
                Panel("Errors", "Checks that the source ended with an error, per second.", "ops",
                      [(rate("duly_orders_source_errors_total", "", ""), "errors")]),
                Panel("A page", "How long the source took to give a page: half, and 19 of 20.", "s",
                      [(quantile(0.5, "duly_orders_page_seconds", "", ""), "half"),
                       (quantile(0.95, "duly_orders_page_seconds", "", ""), "95 %")]),
                Panel("Checks", "Checks that read orders now.", "short",
                      [("sum(duly_orders_sweeps_running{})", "running")]),
                Panel("Lag of the replica", "How far the replica that checks read was behind; nothing where "
                      "none is read.", "s",
                      [("max(duly_orders_replica_lag_seconds{})", "replica")]),
                Panel("Duration of checks", "Half of the checks, and 19 of 20, ran no longer.", "s",
                      [(quantile(0.5, "duly_task_duration_seconds", "", ',kind="check_pending_orders"'),
                        "half"),
                       (quantile(0.95, "duly_task_duration_seconds", "", ',kind="check_pending_orders"'),
                        "95 %")]),
            ),
        ),
    ),
)  # fmt: skip

DASHBOARDS = {
    "overview": OVERVIEW,
    "queues": QUEUES,
    "scheduler": SCHEDULER,
    "broker": BROKER,
}
"""File → dashboard."""
