"""The map: every address of the monitor, who answers it, and which permission it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly_monitor.audit import Endpoint
from duly_monitor.bulk import BulkRunner
from duly_monitor.guarded import Guarded
from duly_monitor.links import Links
from duly_monitor.live import Feed
from duly_monitor.metrics import Vitals
from duly_monitor.pages.audit import AuditPages
from duly_monitor.pages.brokers import BrokerPages
from duly_monitor.pages.bulk import BulkPages
from duly_monitor.pages.contents import ContentsPages
from duly_monitor.pages.enqueue import EnqueuePages
from duly_monitor.pages.failures import FailurePages
from duly_monitor.pages.login import LoginPages
from duly_monitor.pages.oidc import OidcPages
from duly_monitor.pages.preferences import PreferencePages
from duly_monitor.pages.queue import QueuePage
from duly_monitor.pages.queues import QueuePages
from duly_monitor.pages.rows import Rows
from duly_monitor.pages.schedules import SchedulePages
from duly_monitor.pages.search import SearchPages
from duly_monitor.pages.servers import ServerPages
from duly_monitor.pages.tasks import TaskPages
from duly_monitor.pages.throughput import ThroughputPages
from duly_monitor.permissions import Permission
from duly_monitor.render import STATIC, Renderer
from duly_monitor.security import LOG_IN, LOG_OUT, START
from duly_monitor.settings import CALLBACK

_YEAR_SECONDS = 365 * 24 * 3600
OPEN_PATHS = ("/metrics",)
"""Reachable without log-in, except in local mode: counts by queue, never a payload."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The handlers of every page."""

    queues: QueuePages
    queue: QueuePage
    contents: ContentsPages
    tasks: TaskPages
    failures: FailurePages
    search: SearchPages
    bulk: BulkPages
    enqueue: EnqueuePages
    schedules: SchedulePages
    servers: ServerPages
    brokers: BrokerPages
    throughput: ThroughputPages
    preferences: PreferencePages
    audit: AuditPages

    @classmethod
    def over(
        cls,
        inspector: Inspector,
        renderer: Renderer,
        *,
        client: Client,
        runner: BulkRunner,
        links: Links,
    ) -> "Pages":
        """Return the pages that show what the inspector tells."""
        rows = Rows(inspector)
        return cls(
            QueuePages(inspector, renderer),
            QueuePage(inspector, renderer, rows),
            ContentsPages(inspector, renderer, rows),
            TaskPages(inspector, renderer, rows, links),
            FailurePages(inspector, renderer),
            SearchPages(inspector, renderer, rows),
            BulkPages(inspector, renderer, runner),
            EnqueuePages(inspector, renderer, client),
            SchedulePages(inspector, renderer),
            ServerPages(inspector, renderer),
            BrokerPages(inspector, renderer),
            ThroughputPages(inspector, renderer),
            PreferencePages(renderer),
            AuditPages(inspector, renderer),
        )

    def forget(self) -> None:
        """Have pages read anew what they share: something was changed."""
        self.failures.forget()
        self.schedules.forget()
        self.queue.forget()
        self.search.forget()


def routes(
    inspector: Inspector,
    renderer: Renderer,
    pages: Pages,
    feed: Feed,
    *,
    api: Sequence[BaseRoute],
    to: Guarded,
    login: LoginPages | OidcPages | None,
    live: Callable[[], str | None],
) -> list[BaseRoute]:
    """Return the map for one prefix.

    Args:
        inspector: Reads and operates.
        renderer: Renders pages.
        pages: The handlers of the pages.
        feed: Updates the pages.
        api: The map of the API.
        to: Guards every route, and writes down what is done.
        login: Where people log in; None: on no page of the monitor.
        live: What `/livez` asks.
    """
    at, vitals = renderer.prefix, Vitals(inspector, live)
    queues = pages.queues
    feed.unread = vitals.unread.inc
    page_routes = [
        to.view(f"{at}/", queues.overview),
        to.view(f"{at}/failures", pages.failures.failures),
        to.view(f"{at}/search", pages.search.search),
        to.view(f"{at}/throughput", pages.throughput.throughput),
        to.view(f"{at}/settings", pages.preferences.preferences),
        to.view(f"{at}/broker", pages.brokers.brokers),
        to.view(f"{at}/audit", pages.audit.audit, permission=Permission.VIEW_AUDIT),
        *_live_routes(f"{at}/live", to, pages, feed),
        *_queue_routes(at, to, pages),
        *_bulk_routes(at, to, pages.bulk),
        *_task_routes(at, to, pages.tasks),
        *_schedule_routes(at, to, pages.schedules),
        *_server_routes(at, to, pages.servers),
    ]
    return [
        Route("/livez", vitals.livez),
        Route("/readyz", vitals.readyz),
        Route("/metrics", vitals.metrics),
        Mount(f"{at}/static", Assets(directory=STATIC)),
        *api,
        *([] if login is None else login_routes(at, login, to)),
        *page_routes,
        *([to.view(at, queues.overview), Route("/", _to(f"{at}/"))] if at else []),
    ]


def _live_routes(at: str, to: Guarded, pages: Pages, feed: Feed) -> list[Route]:
    """Return the streams of the pages that update themselves."""
    return [
        to.view(f"{at}/queues", feed.follow(pages.queues.followed)),
        to.view(f"{at}/queues/{{name}}", feed.follow(pages.queue.followed)),
        to.view(f"{at}/tasks/{{queue}}/{{task_id:path}}", feed.follow(pages.tasks.followed)),
        to.view(f"{at}/failures", feed.follow(pages.failures.followed)),
        to.view(f"{at}/schedules", feed.follow(pages.schedules.followed)),
        to.view(f"{at}/servers", feed.follow(pages.servers.followed)),
    ]


def login_routes(at: str, login: LoginPages | OidcPages, to: Guarded) -> list[Route]:
    """Return the way in, and out."""
    ways_in = (
        [
            Route(f"{at}{START}", login.start, methods=["GET"]),
            to.enter(f"{at}{CALLBACK}", login.callback, "log_in"),
        ]
        if isinstance(login, OidcPages)
        else [to.act(f"{at}{LOG_IN}", login.log_in, None, "log_in")]
    )
    return [
        Route(f"{at}{LOG_IN}", login.form, methods=["GET"]),
        *ways_in,
        to.act(f"{at}{LOG_OUT}", login.log_out, None, "log_out"),
    ]


def _queue_routes(at: str, to: Guarded, pages: Pages) -> list[Route]:
    """Return the map of one queue."""
    queue, page, enqueue = f"{at}/queues/{{name}}", pages.queue, pages.enqueue
    contents, cancels = pages.contents, Permission.CANCEL_TASKS
    pauses, removes = Permission.PAUSE_QUEUES, Permission.REMOVE_QUEUES
    return [
        to.view(queue, page.queue),
        to.view(f"{queue}/groups", contents.groups),
        to.view(f"{queue}/group", contents.group),
        to.view(f"{queue}/joins", contents.joins),
        to.act(f"{queue}/joins/cancel", contents.cancel_join, cancels, "cancel_join"),
        to.view(f"{queue}/locks", contents.locks),
        to.act(f"{queue}/pause", page.pause, pauses, "pause_queue"),
        to.act(f"{queue}/resume", page.resume, pauses, "resume_queue"),
        to.view(f"{queue}/remove", page.ask_removal, permission=removes),
        to.act(f"{queue}/remove", page.remove, removes, "remove_queue"),
        to.view(f"{queue}/enqueue", enqueue.form, permission=Permission.ENQUEUE),
        to.act(f"{queue}/enqueue", enqueue.enqueue, Permission.ENQUEUE, "enqueue_task"),
    ]


def _bulk_routes(at: str, to: Guarded, bulk: BulkPages) -> list[Route]:
    """Return the map of operations on many tasks; the handlers ask for what an operation takes."""
    return [
        to.view(f"{at}/bulk", bulk.ask),
        to.ask(f"{at}/bulk/selected", bulk.ask_selected),
        to.act(f"{at}/bulk", bulk.start, Permission.VIEW, "bulk"),
        to.view(f"{at}/bulk/{{run_id}}", bulk.run),
        to.act(f"{at}/bulk/{{run_id}}/stop", bulk.stop, Permission.VIEW, "stop_bulk"),
    ]


def _task_routes(at: str, to: Guarded, tasks: TaskPages) -> list[Route]:
    """Return the map of one task."""
    task = f"{at}/tasks/{{queue}}/{{task_id:path}}"
    return [
        to.act(f"{task}/run", tasks.run, Permission.RUN_TASKS, "run_task"),
        to.act(f"{task}/rerun", tasks.rerun, Permission.RUN_TASKS, "rerun_task"),
        to.act(f"{task}/edit", tasks.edit, Permission.RUN_TASKS, "edit_task"),
        to.act(f"{task}/cancel", tasks.cancel, Permission.CANCEL_TASKS, "cancel_task"),
        to.act(f"{task}/archive", tasks.archive, Permission.ARCHIVE_TASKS, "archive_task"),
        to.act(f"{task}/delete", tasks.delete, Permission.DELETE_TASKS, "delete_task"),
        to.view(f"{task}/message", tasks.raw, permission=Permission.VIEW_BYTES),
        # Last of those below /tasks: an id may contain slashes.
        to.view(task, tasks.task),
    ]


def _schedule_routes(at: str, to: Guarded, schedules: SchedulePages) -> list[Route]:
    """Return the map of the timetable."""
    entry, pauses = f"{at}/schedules/{{entry}}", Permission.PAUSE_SCHEDULES
    triggers = Permission.TRIGGER_SCHEDULES
    return [
        to.view(f"{at}/schedules", schedules.schedules),
        to.act(f"{entry}/trigger", schedules.trigger, triggers, "trigger_schedule"),
        to.act(f"{entry}/pause", schedules.pause, pauses, "pause_schedule"),
        to.act(f"{entry}/resume", schedules.resume, pauses, "resume_schedule"),
    ]


def _server_routes(at: str, to: Guarded, servers: ServerPages) -> list[Route]:
    """Return the map of the workers."""
    server, signals = f"{at}/servers/{{server:path}}", Permission.SIGNAL_SERVERS
    return [
        to.view(f"{at}/servers", servers.servers),
        to.act(f"{server}/quiet", servers.quiet, signals, "quiet_server"),
        to.act(f"{server}/resume", servers.resume, signals, "resume_server"),
        to.act(f"{server}/stop", servers.stop, signals, "stop_server"),
    ]


class Assets(StaticFiles):
    """Our own files. Pages name them with a digest: such an address is never asked for again."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with its lifetime: a year with the digest, a minute without."""
        response = await super().get_response(path, scope)
        named = scope["query_string"].startswith(b"v=")
        lifetime = f"{_YEAR_SECONDS}, immutable" if named else "60"
        response.headers["Cache-Control"] = f"public, max-age={lifetime}"
        return response


def _to(address: str) -> Endpoint:
    async def redirect(_request: Request) -> Response:
        return RedirectResponse(address, status_code=307)

    return redirect
