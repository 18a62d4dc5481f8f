"""What routes do around their handlers."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from duly_monitor.guarded import Guarded


class Through:
    """Lets every request through, in place of the audit."""

    def viewing(self, _permission, endpoint):
        return endpoint

    def acting(self, _name, _permission, endpoint):
        return endpoint


@pytest.mark.parametrize("fails", [False, True])
async def test_whatever_may_have_changed_something_says_so_and_a_look_does_not(fails):
    told = []

    async def answer(_request):
        if fails:
            raise RuntimeError("half of it was done")
        return PlainTextResponse("done")

    to = Guarded(Through(), lambda: told.append("changed"))
    app = Starlette(routes=[to.view("/look", answer), to.act("/act", answer, None, "act_on")])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.get("/look")
        assert told == []
        await client.post("/act")

    assert told == ["changed"]
