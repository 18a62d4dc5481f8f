"""Commands as bytes. What many commands have in common at their beginning is packed once."""

from typing import Any

import hiredis


class Head:
    """The first words of many commands.

    It stands in a command's place of these words: `(head, *rest)`.

    Args:
        words: The words.
    """

    __slots__ = ("_packed", "words")

    def __init__(self, *words: Any) -> None:  # noqa: ANN401 - as of a command
        self.words = words
        self._packed = _uncounted(words)

    def followed_by(self, rest: tuple[Any, ...]) -> bytes:
        """Return the command that ends with these words."""
        return b"*%d\r\n%b%b" % (len(self.words) + len(rest), self._packed, _uncounted(rest))


def pack(args: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent."""
    head = args[0]
    if type(head) is Head:
        return head.followed_by(args[1:])
    packed: bytes = hiredis.pack_command(args)
    return packed


def words_of(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return all words of a command."""
    head = args[0]
    return (*head.words, *args[1:]) if type(head) is Head else args


def _uncounted(words: tuple[Any, ...]) -> bytes:
    """Return packed words without their number, which is in the first line."""
    packed: bytes = hiredis.pack_command(words)
    return packed[packed.index(b"\n") + 1 :]
