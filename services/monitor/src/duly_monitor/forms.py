"""What a form has posted, and where its sender is to be led back to."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

MOST_FIELDS: Final = 300
"""A selection of 200 tasks, and what else a form holds."""


class Form:
    """The fields of a posted form."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def one(self, name: str, default: str = "") -> str:
        """Return a field's value, the first where there are several."""
        return next(iter(self._fields.get(name, ())), default)

    def all(self, name: str) -> Sequence[str]:
        """Return every value of a field."""
        return self._fields.get(name, ())


async def form_of(request: Request) -> Form:
    """Read the posted form; the gate has bounded its size.

    Raises:
        HTTPException: 400, when it has too many fields.
    """
    text = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        problem = f"This form has more than {MOST_FIELDS} fields. Select fewer tasks."
        raise HTTPException(400, problem) from None
    return Form(fields)


def address_of(request: Request) -> str:
    """Return where a page is, without the code of a message: what its forms lead back to."""
    kept = [pair for pair in parse_qsl(request.url.query) if pair[0] != "done"]
    return request.url.path + (f"?{urlencode(kept)}" if kept else "")


def returning(address: str, *, prefix: str, otherwise: str) -> str:
    """Return the address that a form names, if it is one of this monitor's pages."""
    ours = address.startswith(f"{prefix}/") and not address.startswith("//")
    plain = address.isascii() and address.isprintable() and "\\" not in address
    try:
        place = urlsplit(address)
    except ValueError:
        return otherwise
    return address if ours and plain and not (place.scheme or place.netloc) else otherwise
