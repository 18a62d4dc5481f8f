"""The map of the JSON API: every address below `/api/v1`, and which permission it takes."""

from typing import Any, cast

from starlette.routing import Route

from duly.clock import SystemClock
from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor.api.audit import AuditApi
from duly_monitor.api.brokers import BrokerApi
from duly_monitor.api.bulk import BulkApi
from duly_monitor.api.contents import ContentsApi
from duly_monitor.api.described import Shown, description_of, tabled, tagged, told
from duly_monitor.api.failures import FailureApi
from duly_monitor.api.kinds import KindApi
from duly_monitor.api.openapi import OpenApi, document
from duly_monitor.api.overview import OverviewApi
from duly_monitor.api.queues import QueueApi
from duly_monitor.api.schedules import ScheduleApi
from duly_monitor.api.servers import ServerApi
from duly_monitor.api.tasks import TaskApi
from duly_monitor.audit import Audit
from duly_monitor.bulk import BulkRunner
from duly_monitor.guarded import Guarded
from duly_monitor.permissions import Permission
from duly_monitor.render import Renderer


def described_api() -> dict[str, Any]:
    """Return the OpenAPI document of a monitor at the usual path; nothing is connected to."""
    settings, clock = MonitorSettings(), SystemClock()
    inspector: Inspector = cast("Any", _Nothing())
    client: Client = cast("Any", _Nothing())
    to = Guarded(Audit(inspector.audit, settings.audit, clock))
    found = api_routes(Renderer(settings, clock), inspector, client, BulkRunner(inspector), to)
    return document(f"{settings.prefix}/api/v1", found)


class _Nothing:
    """Stands for what is not asked while routes are made."""

    audit = None


def api_routes(
    renderer: Renderer, inspector: Inspector, client: Client, runner: BulkRunner, to: Guarded
) -> list[Route]:
    """Return the map of the API, with its description."""
    api, clock = ApiMap(f"{renderer.prefix}/api/v1", to), renderer.clock
    overview, brokers = OverviewApi(inspector, clock), BrokerApi(inspector, clock)
    failures, kinds = FailureApi(inspector, clock), KindApi(inspector, client)
    api.show("/overview", overview.overview, "show_overview")
    api.show("/throughput", overview.throughput, "show_throughput")
    _queue_routes(api, inspector, renderer)
    api.act("/queues/{name}/tasks", kinds.enqueue, Permission.ENQUEUE, "enqueue_task")
    api.act("/queues/{name}/batch", kinds.enqueue_many, Permission.ENQUEUE, "enqueue_tasks")
    _task_routes(api, inspector)
    api.show("/search", failures.search, "search_tasks")
    api.show("/failures", failures.groups, "list_failures")
    _bulk_routes(api, BulkApi(inspector, runner, clock))
    _schedule_routes(api, ScheduleApi(inspector))
    _server_routes(api, ServerApi(inspector))
    api.show("/brokers", brokers.brokers, "list_brokers")
    api.show("/nodes", brokers.nodes, "list_nodes")
    api.show("/kinds", kinds.kinds, "list_kinds")
    api.show("/kinds/{kind}", kinds.kind, "show_kind")
    api.show("/audit", AuditApi(inspector).records, "list_audit", Permission.VIEW_AUDIT)
    openapi = OpenApi(renderer.prefix)
    openapi.describe(api.routes)
    return [to.view(f"{api.at}/openapi.json", openapi.answer, "show_openapi"), *api.routes]


class ApiMap:
    """Collects the routes of the API below an address."""

    def __init__(self, at: str, to: Guarded) -> None:
        self.at, self._to = at, to
        self.routes: list[Route] = []

    def show(
        self, path: str, handler: Shown, name: str, permission: Permission = Permission.VIEW
    ) -> None:
        """Add what shows something: as JSON and, where it is a table, as CSV."""
        found = description_of(handler)
        if found is not None and found.table is not None:
            csv = tabled(handler, found.table)
            self.routes.append(
                self._to.view(f"{self.at}{path}.csv", csv, f"{name}_as_csv", permission)
            )
        self.routes.append(self._to.view(f"{self.at}{path}", tagged(handler), name, permission))

    def act(self, path: str, handler: Shown, permission: Permission, name: str) -> None:
        """Add what changes something."""
        self.routes.append(self._to.act(f"{self.at}{path}", told(handler), permission, name))


def _queue_routes(api: ApiMap, inspector: Inspector, renderer: Renderer) -> None:
    queues, contents = QueueApi(inspector, renderer.clock), ContentsApi(inspector)
    queue, pauses = "/queues/{name}", Permission.PAUSE_QUEUES
    api.show("/queues", queues.queues, "list_queues")
    api.show(queue, queues.queue, "show_queue")
    api.show(f"{queue}/minutes", queues.minutes, "list_minutes")
    api.show(f"{queue}/days", contents.days, "list_days")
    api.show(f"{queue}/groups", contents.groups, "list_groups")
    api.show(f"{queue}/group", contents.group, "list_group_tasks")
    api.show(f"{queue}/joins", contents.joins, "list_joins")
    cancels = Permission.CANCEL_TASKS
    join = f"{queue}/joins/{{join_id:path}}/cancel"
    api.act(join, contents.cancel_join, cancels, "cancel_join")
    api.show(f"{queue}/locks", contents.locks, "list_locks")
    api.show(f"{queue}/tasks", TaskApi(inspector).tasks, "list_tasks")
    api.act(f"{queue}/pause", queues.pause, pauses, "pause_queue")
    api.act(f"{queue}/resume", queues.resume, pauses, "resume_queue")
    api.act(f"{queue}/remove", queues.remove, Permission.REMOVE_QUEUES, "remove_queue")


def _task_routes(api: ApiMap, inspector: Inspector) -> None:
    tasks, task = TaskApi(inspector), "/tasks/{task_id:path}"
    api.act(f"{task}/run", tasks.run, Permission.RUN_TASKS, "run_task")
    api.act(f"{task}/rerun", tasks.rerun, Permission.RUN_TASKS, "rerun_task")
    api.act(f"{task}/edit", tasks.edit, Permission.RUN_TASKS, "edit_task")
    api.act(f"{task}/cancel", tasks.cancel, Permission.CANCEL_TASKS, "cancel_task")
    api.act(f"{task}/archive", tasks.archive, Permission.ARCHIVE_TASKS, "archive_task")
    api.act(f"{task}/delete", tasks.delete, Permission.DELETE_TASKS, "delete_task")
    api.show(f"{task}/message", tasks.message, "show_message", Permission.VIEW_BYTES)
    # Last: an id may contain slashes.
    api.show(task, tasks.task, "show_task")


def _bulk_routes(api: ApiMap, bulk: BulkApi) -> None:
    """Add those of operations on many tasks; the handlers ask for what an operation takes."""
    api.act("/bulk", bulk.start, Permission.VIEW, "start_bulk")
    api.show("/bulk", bulk.runs, "list_bulk")
    api.show("/bulk/{run_id}", bulk.run, "show_bulk")
    api.act("/bulk/{run_id}/stop", bulk.stop, Permission.VIEW, "stop_bulk")


def _schedule_routes(api: ApiMap, schedules: ScheduleApi) -> None:
    entry, pauses = "/schedules/{entry}", Permission.PAUSE_SCHEDULES
    api.show("/schedules", schedules.schedules, "list_schedules")
    api.show(f"{entry}/ticks", schedules.ticks, "list_ticks")
    triggers = Permission.TRIGGER_SCHEDULES
    api.act(f"{entry}/trigger", schedules.trigger, triggers, "trigger_schedule")
    api.act(f"{entry}/pause", schedules.pause, pauses, "pause_schedule")
    api.act(f"{entry}/resume", schedules.resume, pauses, "resume_schedule")


def _server_routes(api: ApiMap, servers: ServerApi) -> None:
    server, signals = "/servers/{server}", Permission.SIGNAL_SERVERS
    api.show("/servers", servers.servers, "list_servers")
    api.act(f"{server}/quiet", servers.quiet, signals, "quiet_server")
    api.act(f"{server}/resume", servers.resume, signals, "resume_server")
    api.act(f"{server}/stop", servers.stop, signals, "stop_server")
