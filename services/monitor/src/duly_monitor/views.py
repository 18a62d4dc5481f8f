"""What a page shows of itself that may change: its parts, each an element with an id of its own.

Templates put `<!--+id-->` before an element and `<!--/id-->` behind it; before a row, of which some
may come and go, `<!--+row:id-->`. Nothing that a payload holds can look like this: it is escaped.
"""

import hashlib
import html
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

_MARK: Final = re.compile(r"<!--(\+row:|\+|/)([^<>]*)-->")
_AGE: Final = re.compile(r"(<time data-age [^<>]*>)[^<>]*")
_SPACE: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class View:
    """The parts of one page at one instant."""

    parts: Mapping[str, str]
    """Id → HTML of that element. A part within it stands there empty; ages are without words."""
    rows: tuple[str, ...] = ()
    """Ids of those parts that are rows, in their order."""
    frame: str = ""
    """A digest of all the rest: where it differs, the page is another one."""

    @property
    def digest(self) -> str:
        """Tell views apart."""
        text = "\0".join((*self.rows, "", *(f"{name}\0{self.parts[name]}" for name in self.parts)))
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Followed:
    """A page that somebody follows: the same for all who look at the same."""

    address: str
    """The canonical address: who has the same shares it."""
    read: Callable[[], Awaitable[View]] = field(compare=False)


@dataclass(slots=True)
class _Open:
    name: str
    row: bool
    chunks: list[str] = field(default_factory=list)


def view_of(text: str) -> View:
    """Take a rendered template apart."""
    first, *marks = _MARK.split(_AGE.sub(r"\1", text))
    parts: dict[str, str] = {}
    rows: list[str] = []
    stack = [_Open("", row=False, chunks=[first])]
    for kind, name, following in zip(marks[::3], marks[1::3], marks[2::3], strict=True):
        if kind == "/":
            ended = stack.pop()
            whole = "".join(ended.chunks).strip()
            parts[ended.name] = whole
            if ended.row:
                rows.append(ended.name)
            else:
                stack[-1].chunks.append(_empty(whole))
        else:
            stack.append(_Open(html.unescape(name), row=kind == "+row:"))
        stack[-1].chunks.append(following)
    frame = _SPACE.sub(" ", "".join(stack[0].chunks))
    digest = hashlib.sha256(frame.encode("utf-8", "replace")).hexdigest()[:16]
    return View(parts, tuple(rows), digest)


def _empty(element: str) -> str:
    """Return the element without its content."""
    return element[: element.find(">") + 1] + element[element.rfind("<") :]
