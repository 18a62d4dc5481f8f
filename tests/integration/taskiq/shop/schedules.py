"""The scheduler."""

from taskiq import TaskiqScheduler
from taskiq.schedule_sources import LabelScheduleSource

from shop import orders  # noqa: F401 - has the tasks
from shop.broker import broker

scheduler = TaskiqScheduler(broker, [LabelScheduleSource(broker)])
