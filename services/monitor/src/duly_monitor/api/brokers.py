"""The nodes of the broker as JSON."""

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import Answer


class BrokerAnswer(Answer):
    """One node that holds queues."""

    address: str
    version: str
    memory_bytes: int | None = Field(description="null: its user may not ask")
    memory_limit_bytes: int | None = Field(description="null: no limit, or it may not ask")
    clients: int | None
    queues: list[str]


class BrokerListAnswer(Answer):
    """The nodes."""

    brokers: list[BrokerAnswer]


class BrokerApi:
    """Answers for `/api/v1/brokers`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described("List the nodes of the broker", BrokerListAnswer)
    async def brokers(self, _request: Request) -> Response:
        """Return the nodes."""
        found = (await self._inspector.overview.recent()).brokers
        return reply(
            BrokerListAnswer(brokers=[BrokerAnswer.model_validate(each) for each in found])
        )
