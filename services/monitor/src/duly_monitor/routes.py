"""The map: every address of the monitor, who answers it, and which permission it takes."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

from duly.engine.inspector import Inspector
from duly_monitor.api.openapi import OpenApi
from duly_monitor.api.queues import QueueApi
from duly_monitor.api.schedules import ScheduleApi
from duly_monitor.api.servers import ServerApi
from duly_monitor.api.tasks import TaskApi
from duly_monitor.live import Feed, Fragment
from duly_monitor.metrics import Vitals
from duly_monitor.pages.queues import QueuePages
from duly_monitor.pages.schedules import SchedulePages
from duly_monitor.pages.servers import ServerPages
from duly_monitor.pages.tasks import TaskPages
from duly_monitor.render import STATIC, Renderer
from duly_monitor.security import Endpoint, Permission, permitted

OPEN_PATHS = ("/metrics",)
"""Reachable without log-in, except in local mode: counts by queue, never a payload."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The handlers of every page."""

    queues: QueuePages
    tasks: TaskPages
    schedules: SchedulePages
    servers: ServerPages

    @classmethod
    def over(cls, inspector: Inspector, renderer: Renderer) -> "Pages":
        """Return the pages that show what the inspector tells."""
        return cls(
            QueuePages(inspector, renderer),
            TaskPages(inspector, renderer),
            SchedulePages(inspector, renderer),
            ServerPages(inspector, renderer),
        )

    def fragments(self) -> dict[str, Fragment]:
        """Return the regions that update themselves, by topic."""
        return {
            "queues": self.queues.overview_fragment,
            "schedules": self.schedules.fragment,
            "servers": self.servers.fragment,
        }


def routes(inspector: Inspector, renderer: Renderer, pages: Pages, feed: Feed) -> list[BaseRoute]:
    """Return the map for one prefix."""
    at, vitals = renderer.prefix, Vitals(inspector)
    queues, tasks = pages.queues, pages.tasks
    page_routes = [
        view(f"{at}/", queues.overview),
        view(f"{at}/queues/{{name}}", queues.queue),
        view(f"{at}/failures", tasks.failures),
        view(f"{at}/tasks/{{queue}}/{{task_id:path}}", tasks.task),
        view(f"{at}/schedules", pages.schedules.schedules),
        view(f"{at}/servers", pages.servers.servers),
        view(f"{at}/live/{{topic}}", feed.stream),
        operate(f"{at}/queues/{{name}}/pause", queues.pause),
        operate(f"{at}/queues/{{name}}/resume", queues.resume),
        operate(f"{at}/tasks/{{queue}}/{{task_id:path}}/run", tasks.run),
        operate(f"{at}/tasks/{{queue}}/{{task_id:path}}/archive", tasks.archive),
        operate(f"{at}/tasks/{{queue}}/{{task_id:path}}/delete", tasks.delete),
    ]
    return [
        Route("/livez", vitals.livez),
        Route("/readyz", vitals.readyz),
        Route("/metrics", vitals.metrics),
        Mount(f"{at}/static", Assets(directory=STATIC)),
        *api_routes(f"{at}/api/v1", inspector, renderer),
        *page_routes,
        *([view(at, queues.overview), Route("/", _to(f"{at}/"))] if at else []),
    ]


def api_routes(at: str, inspector: Inspector, renderer: Renderer) -> list[Route]:
    """Return the map of the JSON API."""
    queues, tasks = QueueApi(inspector, renderer.clock), TaskApi(inspector)
    schedules, servers = ScheduleApi(inspector), ServerApi(inspector)
    openapi = OpenApi(renderer.prefix)
    described = [
        view(f"{at}/queues", queues.queues, "list_queues"),
        view(f"{at}/queues/{{name}}", queues.queue, "show_queue"),
        view(f"{at}/queues/{{name}}/minutes", queues.minutes, "list_minutes"),
        view(f"{at}/queues/{{name}}/tasks", tasks.tasks, "list_tasks"),
        operate(f"{at}/queues/{{name}}/pause", queues.pause, "pause_queue"),
        operate(f"{at}/queues/{{name}}/resume", queues.resume, "resume_queue"),
        view(f"{at}/tasks/{{task_id:path}}", tasks.task, "show_task"),
        operate(f"{at}/tasks/{{task_id:path}}/run", tasks.run, "run_task"),
        operate(f"{at}/tasks/{{task_id:path}}/archive", tasks.archive, "archive_task"),
        operate(f"{at}/tasks/{{task_id:path}}/delete", tasks.delete, "delete_task"),
        view(f"{at}/schedules", schedules.schedules, "list_schedules"),
        view(f"{at}/schedules/{{entry}}/ticks", schedules.ticks, "list_ticks"),
        view(f"{at}/servers", servers.servers, "list_servers"),
    ]
    openapi.describe(described)
    return [view(f"{at}/openapi.json", openapi.answer, "openapi"), *described]


def view(path: str, endpoint: Endpoint, name: str | None = None) -> Route:
    """Return a route that shows something."""
    return Route(path, permitted(Permission.VIEW, endpoint), methods=["GET"], name=name)


def operate(path: str, endpoint: Endpoint, name: str | None = None) -> Route:
    """Return a route that changes something."""
    return Route(path, permitted(Permission.OPERATE, endpoint), methods=["POST"], name=name)


class Assets(StaticFiles):
    """Our own files; their addresses carry a digest, so they may be kept."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with its lifetime."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response


def _to(address: str) -> Endpoint:
    async def redirect(_request: Request) -> Response:
        return RedirectResponse(address, status_code=307)

    return redirect
