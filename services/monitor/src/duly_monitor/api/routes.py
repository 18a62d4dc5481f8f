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
from duly_monitor.api.described import tagged
from duly_monitor.api.failures import FailureApi
from duly_monitor.api.kinds import KindApi
from duly_monitor.api.openapi import OpenApi, document
from duly_monitor.api.queues import QueueApi
from duly_monitor.api.schedules import ScheduleApi
from duly_monitor.api.servers import ServerApi
from duly_monitor.api.tasks import TaskApi
from duly_monitor.audit import Audit, Endpoint
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
    at, openapi = f"{renderer.prefix}/api/v1", OpenApi(renderer.prefix)
    failures = FailureApi(inspector, renderer.clock)
    audit, audits = AuditApi(inspector), Permission.VIEW_AUDIT
    kinds = KindApi(inspector, client)

    def show(path: str, endpoint: Endpoint, name: str) -> Route:
        return to.view(f"{at}{path}", tagged(endpoint), name)

    described = [
        *_queue_routes(at, inspector, renderer, to),
        to.act(f"{at}/queues/{{name}}/tasks", kinds.enqueue, Permission.ENQUEUE, "enqueue_task"),
        to.act(
            f"{at}/queues/{{name}}/batch", kinds.enqueue_many, Permission.ENQUEUE, "enqueue_tasks"
        ),
        *_task_routes(at, inspector, to),
        show("/search", failures.search, "search_tasks"),
        show("/failures", failures.groups, "list_failures"),
        *_bulk_routes(at, BulkApi(inspector, runner, renderer.clock), to),
        *_schedule_routes(at, ScheduleApi(inspector), to),
        *_server_routes(at, ServerApi(inspector), to),
        show("/brokers", BrokerApi(inspector).brokers, "list_brokers"),
        show("/kinds", kinds.kinds, "list_kinds"),
        show("/kinds/{kind}", kinds.kind, "show_kind"),
        to.view(f"{at}/audit", audit.records, "list_audit", audits),
    ]
    openapi.describe(described)
    return [
        show("/openapi.json", openapi.answer, "openapi"),
        to.view(f"{at}/search.csv", failures.search_table),
        to.view(f"{at}/failures.csv", failures.groups_table),
        to.view(f"{at}/audit.csv", audit.table, permission=audits),
        *described,
    ]


def _queue_routes(at: str, inspector: Inspector, renderer: Renderer, to: Guarded) -> list[Route]:
    queues, contents = QueueApi(inspector, renderer.clock), ContentsApi(inspector)
    tasks, queue = TaskApi(inspector), f"{at}/queues/{{name}}"
    pauses, removes = Permission.PAUSE_QUEUES, Permission.REMOVE_QUEUES
    return [
        to.view(f"{at}/queues", tagged(queues.queues), "list_queues"),
        to.view(queue, tagged(queues.queue), "show_queue"),
        to.view(f"{queue}/minutes", tagged(queues.minutes), "list_minutes"),
        to.view(f"{queue}/days", tagged(contents.days), "list_days"),
        to.view(f"{queue}/groups", tagged(contents.groups), "list_groups"),
        to.view(f"{queue}/joins", tagged(contents.joins), "list_joins"),
        to.view(f"{queue}/locks", tagged(contents.locks), "list_locks"),
        to.view(f"{queue}/tasks", tagged(tasks.tasks), "list_tasks"),
        to.act(f"{queue}/pause", queues.pause, pauses, "pause_queue"),
        to.act(f"{queue}/resume", queues.resume, pauses, "resume_queue"),
        to.act(f"{queue}/remove", queues.remove, removes, "remove_queue"),
    ]


def _task_routes(at: str, inspector: Inspector, to: Guarded) -> list[Route]:
    tasks, task = TaskApi(inspector), f"{at}/tasks/{{task_id:path}}"
    return [
        to.act(f"{task}/run", tasks.run, Permission.RUN_TASKS, "run_task"),
        to.act(f"{task}/rerun", tasks.rerun, Permission.RUN_TASKS, "rerun_task"),
        to.act(f"{task}/cancel", tasks.cancel, Permission.CANCEL_TASKS, "cancel_task"),
        to.act(f"{task}/archive", tasks.archive, Permission.ARCHIVE_TASKS, "archive_task"),
        to.act(f"{task}/delete", tasks.delete, Permission.DELETE_TASKS, "delete_task"),
        # Last: an id may contain slashes.
        to.view(task, tagged(tasks.task), "show_task"),
    ]


def _bulk_routes(at: str, bulk: BulkApi, to: Guarded) -> list[Route]:
    """Return those of operations on many tasks; the handlers ask for what an operation takes."""
    return [
        to.act(f"{at}/bulk", bulk.start, Permission.VIEW, "start_bulk"),
        to.view(f"{at}/bulk", tagged(bulk.runs), "list_bulk"),
        to.view(f"{at}/bulk/{{run_id}}", tagged(bulk.run), "show_bulk"),
        to.act(f"{at}/bulk/{{run_id}}/stop", bulk.stop, Permission.VIEW, "stop_bulk"),
    ]


def _schedule_routes(at: str, schedules: ScheduleApi, to: Guarded) -> list[Route]:
    entry, pauses = f"{at}/schedules/{{entry}}", Permission.PAUSE_SCHEDULES
    return [
        to.view(f"{at}/schedules", tagged(schedules.schedules), "list_schedules"),
        to.view(f"{entry}/ticks", tagged(schedules.ticks), "list_ticks"),
        to.act(
            f"{entry}/trigger", schedules.trigger, Permission.TRIGGER_SCHEDULES, "trigger_schedule"
        ),
        to.act(f"{entry}/pause", schedules.pause, pauses, "pause_schedule"),
        to.act(f"{entry}/resume", schedules.resume, pauses, "resume_schedule"),
    ]


def _server_routes(at: str, servers: ServerApi, to: Guarded) -> list[Route]:
    server, signals = f"{at}/servers/{{server}}", Permission.SIGNAL_SERVERS
    return [
        to.view(f"{at}/servers", tagged(servers.servers), "list_servers"),
        to.act(f"{server}/quiet", servers.quiet, signals, "quiet_server"),
        to.act(f"{server}/resume", servers.resume, signals, "resume_server"),
        to.act(f"{server}/stop", servers.stop, signals, "stop_server"),
    ]
