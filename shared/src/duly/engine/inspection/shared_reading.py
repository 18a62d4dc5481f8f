"""Lets those who ask for the same within a second share one reading of the broker."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

KEPT_SECONDS: Final = 0.9
"""Less than a second, so that who reads once a second never gets what is two seconds old."""
_SHARE: Final = 10
"""A reading that took long is kept so many times as long: it takes a tenth of the time at most."""
_MOST: Final = 64
"""Different readings that are kept."""
Answer = TypeVar("Answer")
Question = TypeVar("Question", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Answer]):
    answer: Answer
    until: float


class SharedReading(Generic[Question, Answer]):
    """Reads answers to questions, and keeps each for a second or ten times as long as it took."""

    def __init__(
        self, read: Callable[[Question], Awaitable[Answer]], *, share: int | None = None
    ) -> None:
        """Keep nothing yet.

        Args:
            read: Reads the answer to a question.
            share: How many times as long as its reading took an answer is kept, at least a second;
                None: ten times.
        """
        self._read, self._share = read, share
        self._kept: dict[Question, _Kept[Answer]] = {}
        self._under_way: dict[Question, asyncio.Task[Answer]] = {}

    async def get(self, question: Question) -> Answer:
        """Return what was read lately or is being read, else read it.

        Raises:
            DulyError: The reading failed, for all who wait for it; the next one tries again.
        """
        kept = self._kept.get(question)
        if kept is not None and asyncio.get_running_loop().time() < kept.until:
            return kept.answer
        task = self._under_way.get(question)
        if task is None:
            task = self._under_way[question] = asyncio.create_task(self._begin(question))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        # One who goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Have the next one who asks read anew: something was changed."""
        self._kept.clear()
        self._under_way.clear()

    async def _begin(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            answer = await self._read(question)
        finally:
            current = self._under_way.get(question) is asyncio.current_task()
            if current:
                del self._under_way[question]
        if current:  # else it was forgotten meanwhile
            ended = loop.time()
            self._kept.pop(question, None)
            # What is too old is let go: a page of large tasks takes a megabyte.
            self._kept = {each: kept for each, kept in self._kept.items() if kept.until > ended}
            while len(self._kept) >= _MOST:
                del self._kept[next(iter(self._kept))]
            share = _SHARE if self._share is None else self._share
            lasts = max(KEPT_SECONDS, share * (ended - begun))
            self._kept[question] = _Kept(answer, ended + lasts)
        return answer
