"""What a sweep found: counts and ages, which add up over its parts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from duly.orders.page import Page


@dataclass(slots=True)
class Totals:
    """The sum of a sweep, or of a part of it. No order is named."""

    pending: int = 0
    logged: int = 0
    pages: int = 0
    oldest: datetime | None = None
    """When the oldest pending order was created; None: not known."""
    lag: float | None = None
    """Seconds that a replica was behind, at the most; None: no replica, or not known."""
    suppressed: int = 0
    """Orders that the policy of the log left out."""

    @property
    def whole(self) -> bool:
        """Whether every order was logged that was to be."""
        return self.logged + self.suppressed == self.pending

    def add(self, page: Page, logged: int, suppressed: int = 0) -> None:
        """Add a page, of which so many orders were logged, and so many left out."""
        self.merge(Totals(len(page.orders), logged, 1, page.oldest, page.lag, suppressed))

    def merge(self, other: "Totals") -> None:
        """Add another part."""
        self.pending += other.pending
        self.logged += other.logged
        self.suppressed += other.suppressed
        self.pages += other.pages
        self.oldest = min(filter(None, (self.oldest, other.oldest)), default=None)
        lags = [lag for lag in (self.lag, other.lag) if lag is not None]
        self.lag = max(lags, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        oldest = None if self.oldest is None else self.oldest.isoformat()
        counts = {"pending": self.pending, "logged": self.logged, "pages": self.pages}
        return {**counts, "suppressed": self.suppressed, "oldest": oldest, "lag": self.lag}

    @classmethod
    def from_json(cls, given: Any) -> "Totals":  # noqa: ANN401 - whatever the broker holds
        """Return what `to_json` was called on.

        Raises:
            ValueError: It is something else.
        """
        try:
            oldest = given["oldest"]
            return cls(
                pending=int(given["pending"]),
                logged=int(given["logged"]),
                pages=int(given["pages"]),
                oldest=None if oldest is None else datetime.fromisoformat(oldest),
                lag=None if given["lag"] is None else float(given["lag"]),
                # A worker of the release before, in a rollout, does not say it.
                suppressed=int(given.get("suppressed", 0)),
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError("these are no totals of a sweep") from None
