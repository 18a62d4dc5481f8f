"""What a queue did, by the minute and by the day: the counters of the scripts."""

from typing import Any

from duly.clock import from_unix_ms
from duly.engine.storage.decoding import sum_counts, text_map
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.reports import DayReport, MinuteReport
from duly.engine.storage.store import Store

MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
MOST_MINUTES, MOST_DAYS = 72 * 60, 90


async def read_minutes(store: Store, keys: QueueKeys, count: int) -> list[MinuteReport]:
    """Return the last `count` minutes, oldest first."""
    if not 1 <= count <= MOST_MINUTES:
        raise ValueError(f"count: {count} is not within 1 to {MOST_MINUTES} minutes")
    last = store.now_ms() // MINUTE_MS
    first = last - count + 1
    hours = range(first // 60, last // 60 + 1)
    found = await store.connection.many([("HGETALL", keys.hour(hour * _HOUR_MS)) for hour in hours])
    counts = {hour: text_map(answer) for hour, answer in zip(hours, found, strict=True)}
    return [
        MinuteReport(
            at=from_unix_ms(minute * MINUTE_MS),
            processed=sum_counts(counts[minute // 60], "processed", f"{minute % 60}:"),
            failed=sum_counts(counts[minute // 60], "failed", f"{minute % 60}:"),
        )
        for minute in range(first, last + 1)
    ]


async def read_days(store: Store, keys: QueueKeys, count: int) -> list[DayReport]:
    """Return the last `count` days, oldest first."""
    if not 1 <= count <= MOST_DAYS:
        raise ValueError(f"count: {count} is not within 1 to {MOST_DAYS} days")
    last = store.now_ms() // _DAY_MS * _DAY_MS
    days = [last - back * _DAY_MS for back in reversed(range(count))]
    found = await store.connection.many([("HGETALL", keys.day(day)) for day in days])
    counts = [text_map(answer) for answer in found]
    return [
        DayReport(
            at=from_unix_ms(day),
            processed=sum_counts(count, "processed"),
            failed=sum_counts(count, "failed"),
            crashed=sum_counts(count, "crashed"),
        )
        for day, count in zip(days, counts, strict=True)
    ]


def last_minute(hours: tuple[dict[str, Any], dict[str, Any]], outcome: str, now_ms: int) -> int:
    """Return the count of the last sixty seconds: this minute's, and its share of the one before.

    `hours` are the counters of the hour now and of the hour a minute ago (often the same).
    """
    minute = now_ms // MINUTE_MS
    now = sum_counts(hours[0], outcome, f"{minute % 60}:")
    before = sum_counts(hours[1], outcome, f"{(minute - 1) % 60}:")
    return now + round(before * (1 - now_ms % MINUTE_MS / MINUTE_MS))
