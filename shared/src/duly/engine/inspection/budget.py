"""How much a page may hold: a bound in bytes beside the one in tasks."""

PAGE_BYTES = 1024 * 1024
"""A page ends once its tasks take so much; the part that was being read then is still in it."""
_FIRST = 25
"""Tasks in the first part; each further one is twice as large."""


class Budget:
    """Says how many tasks to ask for next, so that neither broker nor caller holds too much.

    The parts grow, and follow the size of what has come so far: pages of small tasks take few
    round trips, those of large tasks end early.
    """

    def __init__(self, tasks: int) -> None:
        self._left, self._part = tasks, _FIRST
        self._bytes = self._seen = 0

    def part(self) -> int:
        """Return how many to ask for; 0: the page is full."""
        if self._bytes >= PAGE_BYTES:
            return 0
        fits = self._part
        if self._seen:
            fits = (PAGE_BYTES - self._bytes) * self._seen // max(1, self._bytes) + 1
        return min(self._left, self._part, fits)

    def spend(self, tasks: int, size_bytes: int) -> None:
        """Count what has come."""
        self._left -= tasks
        self._seen += tasks
        self._bytes += size_bytes
        self._part *= 2
