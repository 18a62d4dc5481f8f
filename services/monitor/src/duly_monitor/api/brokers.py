"""The nodes of the broker as JSON."""

from datetime import datetime
from typing import Self

from pydantic import Field
from starlette.requests import Request

from duly.clock import Clock
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.node_health import of_node
from duly.engine.inspection.node_info import NodeReport
from duly_monitor.api.described import described
from duly_monitor.api.models import NEXT, Answer, HealthAnswer
from duly_monitor.api.paging import part_of
from duly_monitor.api.tables import Table
from duly_monitor.bounds import PartQuery, asked

_COLUMNS = ("address", "version", "memory_bytes", "memory_limit_bytes", "clients", "queues")


class BrokerAnswer(Answer):
    """One node that holds queues."""

    address: str
    version: str
    memory_bytes: int | None = Field(description="null: its user may not ask")
    memory_limit_bytes: int | None = Field(description="null: no limit, or it may not ask")
    clients: int | None
    queues: list[str]


class BrokerListAnswer(Answer):
    """The nodes, by address."""

    brokers: list[BrokerAnswer]
    next_cursor: str | None = Field(description=NEXT)


class NodeAnswer(BrokerAnswer):
    """One node with what it says of itself; null and empty: it does not say."""

    problems: list[HealthAnswer] = Field(description="what is wrong with it, worst first")
    answered_in_seconds: float | None
    role: str = Field(description="master or slave, in the words of the node")
    uptime_seconds: float | None
    memory_peak_bytes: int | None
    memory_resident_bytes: int | None
    clients_limit: int | None
    commands_per_second: int | None
    saved_at: datetime | None = Field(description="its last snapshot")
    said: dict[str, str] = Field(description="all that it says, by its own names")

    @classmethod
    def of(cls, node: NodeReport, now: datetime) -> Self:
        """Return the answer for a report."""
        answered, uptime = node.answered_in, node.uptime
        return cls(
            **BrokerAnswer.model_validate(node.broker).model_dump(),
            problems=[HealthAnswer.model_validate(each) for each in of_node(node, now)],
            answered_in_seconds=None if answered is None else answered.total_seconds(),
            role=node.role,
            uptime_seconds=None if uptime is None else uptime.total_seconds(),
            memory_peak_bytes=node.memory_peak_bytes,
            memory_resident_bytes=node.memory_resident_bytes,
            clients_limit=node.clients_limit,
            commands_per_second=node.commands_per_second,
            saved_at=node.saved_at,
            said=dict(node.raw),
        )


class NodeListAnswer(Answer):
    """The nodes, by address, with what each says of itself."""

    nodes: list[NodeAnswer]
    next_cursor: str | None = Field(description=NEXT)


class BrokerApi:
    """Answers for `/api/v1/brokers` and `/api/v1/nodes`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described(
        "List the nodes of the broker",
        BrokerListAnswer,
        query=PartQuery,
        table=Table("brokers", "brokers", _COLUMNS),
    )
    async def brokers(self, request: Request) -> Answer:
        """Return a page of the nodes."""
        query, recent = asked(PartQuery, request), await self._inspector.overview.recent()
        part = part_of(recent.brokers, query, lambda each: (each.address,))
        brokers = [BrokerAnswer.model_validate(each) for each in part.items]
        return BrokerListAnswer(brokers=brokers, next_cursor=part.next_cursor)

    @described(
        "List the nodes of the broker with all that they say of themselves",
        NodeListAnswer,
        query=PartQuery,
        table=Table("nodes", "nodes", (*_COLUMNS, "role", "uptime_seconds", "problems")),
    )
    async def nodes(self, request: Request) -> Answer:
        """Return a page of the nodes, each asked now."""
        query, found = asked(PartQuery, request), await self._inspector.brokers.nodes()
        part = part_of(found, query, lambda each: (each.broker.address,))
        now = self._clock.now()
        nodes = [NodeAnswer.of(each, now) for each in part.items]
        return NodeListAnswer(nodes=nodes, next_cursor=part.next_cursor)
