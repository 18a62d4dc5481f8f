"""The settings of a viewer: theme, contrast, zone and updates, which the browser keeps."""

from starlette.requests import Request
from starlette.responses import Response

from duly_monitor.render import Renderer


class PreferencePages:
    """Answers for `/settings`."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    async def preferences(self, _request: Request) -> Response:
        """Show what one may choose; nothing of it reaches the server."""
        return self._renderer.page("settings.html")
