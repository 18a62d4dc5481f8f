"""All queues together as JSON: how well they are, and what they did."""

from datetime import datetime

from pydantic import Field
from starlette.requests import Request

from duly.clock import Clock
from duly.engine.inspection import health
from duly.engine.inspection.inspector import Inspector
from duly_monitor.api.described import described
from duly_monitor.api.models import Answer, HealthAnswer
from duly_monitor.api.queues import MinuteAnswer
from duly_monitor.api.tables import Table
from duly_monitor.bounds import SpanQuery, asked
from duly_monitor.series import Span, read_all_series


class OverviewAnswer(HealthAnswer):
    """The health of all, in one sentence, with what it sums up."""

    at: datetime = Field(description="when the queues were read")
    facts: list[HealthAnswer] = Field(
        description="what is wrong with schedulers, workers and the broker, worst first"
    )
    queues: int
    servers: int
    waiting: int
    active: int
    archived: int
    processed_per_minute: int
    failed_per_minute: int


class QueueSumAnswer(Answer):
    """What one queue did in a span."""

    name: str
    processed: int
    failed: int
    failed_share: float = Field(description="of its attempts, 0 to 1")


class ThroughputAnswer(Answer):
    """What all queues did, and what each did."""

    span: Span
    points: list[MinuteAnswer] = Field(
        description="of all queues together, oldest first; without the step that is not over, "
        "unless that is today"
    )
    queues: list[QueueSumAnswer] = Field(
        description="by name; from the first point until now, the step that is not over included"
    )


class OverviewApi:
    """Answers for `/api/v1/overview` and `/api/v1/throughput`."""

    def __init__(self, inspector: Inspector, clock: Clock) -> None:
        self._inspector, self._clock = inspector, clock

    @described("Show how well all is", OverviewAnswer)
    async def overview(self, _request: Request) -> Answer:
        """Return the health of everything."""
        recent, now = await self._inspector.overview.recent(), self._clock.now()
        facts = health.around(recent.entries, recent.servers, recent.brokers, now)
        healths = {report.name: health.of_queue(report, now) for report in recent.queues}
        worst = health.with_facts(health.overall(healths), facts)
        summed = ("waiting", "active", "archived", "processed_per_minute", "failed_per_minute")
        return OverviewAnswer(
            level=worst.level,
            sentence=worst.sentence,
            at=recent.at,
            facts=[HealthAnswer.model_validate(fact.health) for fact in facts],
            queues=len(recent.queues),
            servers=len(recent.servers),
            **{name: sum(getattr(each, name) for each in recent.queues) for name in summed},
        )

    @described(
        "Show what all queues did, and each",
        ThroughputAnswer,
        query=SpanQuery,
        table=Table("throughput", "queues", ("name", "processed", "failed", "failed_share")),
    )
    async def throughput(self, request: Request) -> Answer:
        """Return the points of the whole, and the sums of each queue."""
        span = asked(SpanQuery, request).span
        together, sums = await read_all_series(self._inspector, span)
        return ThroughputAnswer(
            span=span,
            points=[MinuteAnswer.of(point) for point in together],
            queues=[QueueSumAnswer.model_validate(each) for each in sums],
        )
