"""What is encoded is decoded as it was, or is refused by the name of its field."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cached_property
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)

from duly.described_job import described_job
from duly.engine.storage.codec import Message, payload_reader
from duly.engine.storage.codec import decode as decode_message
from duly.engine.storage.codec import encode as encode_message
from duly.errors import EnqueueError, InvalidPayloadError
from duly.job import Job
from duly.payload import encode, form_of

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Pair(Enum):
    ONE = (1, 2)


class Item(BaseModel):
    price: Decimal = Decimal(1)


class Discounted(Item):
    off: int = 5


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass
class Pixel(Point):
    colour: str = "red"


def job_of(*args, strict=False, **options):
    """Return a job with one field `it` of a type, and whatever its Field is given."""

    class Base(Job, kind="made"):
        model_config = ConfigDict(strict=strict)

    annotation = args[0]
    made = Annotated[annotation, Field(**options)] if options else annotation

    class Made(Base, kind="made"):
        __annotations__ = {"it": made}

    return Made


def arrived(job):
    """Return what a worker makes of a job's bytes."""
    message = Message(task_id="one", task_name=job.kind, kwargs=encode(job))
    return payload_reader(type(job))(decode_message(encode_message(message)))


KEPT = {
    "int": (int, 2**70),
    "float": (float, 1.5),
    "text": (str, "ä\n"),
    "none": (str | None, None),
    "bool": (bool, True),
    "literal": (Literal["a", 1], 1),
    "enum": (Colour, Colour.RED),
    "int enum": (Level, Level.LOW),
    "uuid": (UUID, UUID(int=7)),
    "date": (date, date(2026, 1, 5)),
    "utc": (datetime, NOON),
    "offset": (datetime, NOON.astimezone(timezone(timedelta(hours=-5)))),
    "zone": (datetime, NOON.astimezone(BERLIN)),
    "an hour that comes twice": (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
    "naive": (datetime, NOON.replace(tzinfo=None)),
    "timedelta": (timedelta, timedelta(days=-3, microseconds=1)),
    "timedelta.max": (timedelta, timedelta.max),
    "decimal": (Decimal, Decimal("1.10")),
    "tuple": (tuple[int, str], (1, "a")),
    "set": (set[str], {"a", "b", "c"}),
    "frozenset of tuples": (frozenset[tuple[int, str]], frozenset({(1, "b"), (2, "a")})),
    "dict by int": (dict[int, str], {1: "a"}),
    "dict by text": (dict[str, list[int]], {"a": [1]}),
    "model": (Item, Item(price=Decimal("2.5"))),
    "models": (list[Item], [Item(), Item(price=Decimal(3))]),
    "dataclass": (Point, Point(1, 0.5)),
    "any": (Any, {"a": [1, None, "b", 1.5, True]}),
    "union": (int | str, "7"),
    "text or decimal": (Decimal | float, Decimal("1.5")),
    "url": (HttpUrl, HttpUrl("https://example.org/a")),
    "bytes": (bytes, b"abc"),
    "json": (Json[list[int]], "[1,2]"),
    "secret of asterisks": (SecretStr, SecretStr("**********")),
}


@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict"])
@pytest.mark.parametrize(("annotation", "value"), KEPT.values(), ids=KEPT)
def test_a_payload_arrives_as_it_was(annotation, value, strict):
    job = job_of(annotation, strict=strict)(it=value)

    there = arrived(job)

    assert type(there.it) is type(job.it)
    if isinstance(value, datetime):  # of an hour that comes twice `==` says that nothing is equal
        assert there.it.isoformat() == value.isoformat()
    else:
        assert there == job


REFUSED = {
    "secret": (SecretStr, SecretStr("hush"), "it"),
    "secret in a list": (list[SecretStr], [SecretStr("hush")], "it.0"),
    "nan": (float, float("nan"), "it"),
    "optional infinity": (float | None, float("inf"), "it"),
    "nan in a list": (list[float], [1.0, float("nan")], "it.1"),
    "infinity in any": (Any, {"a": [float("-inf")]}, "it.a.0"),
    "tuple in any": (Any, (1, 2), "it"),
    "set in any": (Any, {1}, "it"),
    "datetime in any": (Any, NOON, "it"),
    "model in any": (Any, Item(), "it"),
    "key that is no text": (dict[Any, int], {1: 1}, "it.1"),
    "key that is None": (dict[str | None, int], {None: 1}, "it.None"),
    "key that is a tuple": (dict[tuple[int, int], int], {(1, 2): 1}, "it.1,2.[key]"),
    "text like a datetime": (datetime | str, "2026-01-05T12:00:00Z", "it"),
    "subclass": (Item, Discounted(), "it"),
    "subclass in a list": (list[Item], [Item(), Discounted()], "it.1"),
    "subclass of a dataclass": (Point, Pixel(1), "it"),
    "enum of tuples": (Pair, Pair.ONE, "it"),
    "bytes that are no text": (bytes, b"\xff", "it"),
    "local mean time": (datetime, datetime(1880, 1, 1, tzinfo=BERLIN), "it"),
    "function": (Callable, print, "it"),
}


@pytest.mark.parametrize(("annotation", "value", "field"), REFUSED.values(), ids=REFUSED)
def test_what_would_not_arrive_is_refused_by_its_field(annotation, value, field):
    job = job_of(annotation)(it=value)

    with pytest.raises(InvalidPayloadError) as caught:
        encode(job)

    assert caught.value.field == field
    assert caught.value.kind == "made"
    assert isinstance(caught.value, EnqueueError)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"data": [1, {"x": math.inf}]}, "data.1.x"),
        ({"x": math.nan}, "x"),
        ({"x": "\ud800"}, "x"),
    ],
)
def test_what_a_person_describes_is_refused_where_json_cannot_carry_it(values, field):
    form = form_of(described_job("legacy", None, {}))

    with pytest.raises(InvalidPayloadError) as caught:
        form.read(values)

    assert caught.value.field == field
    assert form.read({"data": [1.5, None]}).model_extra == {"data": [1.5, None]}


ALIASES = {
    "alias": {"alias": "IT"},
    "validation alias": {"validation_alias": "IT"},
    "choices": {"validation_alias": AliasChoices("IT", "It")},
    "serialization alias": {"serialization_alias": "other"},
}


@pytest.mark.parametrize("options", ALIASES.values(), ids=ALIASES)
def test_aliases_are_for_people_and_the_field_for_the_wire(options):
    made = job_of(int, **options)
    name = "it" if "serialization_alias" in options else "IT"
    job = made.model_validate({name: 5})

    assert encode(job) == {"it": 5}
    assert arrived(job) == job
    assert form_of(made).decode({name: 5}) == job


def test_an_excluded_field_is_refused_unless_it_has_its_default():
    made = job_of(int, exclude=True, default=1)

    assert arrived(made()) == made()
    with pytest.raises(InvalidPayloadError, match="'it' would arrive as another value"):
        encode(made(it=2))
    with pytest.raises(InvalidPayloadError, match="'it' would be refused"):
        encode(job_of(int, exclude=True)(it=2))


class Computed(Job, kind="computed"):
    number: int
    _note: str = PrivateAttr("none")

    @computed_field
    @property
    def double(self) -> int:
        return 2 * self.number

    @cached_property
    def square(self) -> int:
        return self.number**2


def test_what_is_computed_or_cached_or_private_does_not_travel():
    job = Computed(number=3)
    assert job.square == 9
    job._note = "mine"

    assert encode(job) == {"number": 3}
    assert arrived(job).double == 6


class Renamed(Job, kind="renamed"):
    number: int

    @model_serializer
    def write(self):
        return {"n": self.number}


class Shortened(Job, kind="shortened"):
    at: datetime

    @field_serializer("at")
    def write(self, at):
        return f"{at:%Y-%m-%dT%H:%M}Z"


class Growing(Job, kind="growing"):
    number: int

    @field_validator("number")
    @classmethod
    def grow(cls, number):
        return number + 1


class Picky(Job, kind="picky"):
    number: int

    @field_validator("number", mode="before")
    @classmethod
    def check(cls, number):
        if isinstance(number, int):
            raise TypeError("as rude as validators may be")
        return int(number)


class Bare(Job, kind="bare"):
    number: Annotated[int, PlainSerializer(lambda number: [number])]


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (Renamed(number=1), "number"),
        (Shortened(at=NOON.replace(second=7)), "at"),
        (Growing(number=1), "number"),
        (Picky(number="1"), ""),
        (Bare(number=1), "number"),
    ],
)
def test_serializers_and_validators_that_do_not_agree_are_found_out(job, field):
    with pytest.raises(InvalidPayloadError) as caught:
        encode(job)

    assert caught.value.field == field


def test_serializers_that_agree_are_used():
    job = Shortened(at=NOON)

    assert encode(job) == {"at": "2026-01-05T12:00Z"}
    assert arrived(job) == job


class Checked(Job, kind="checked"):
    number: int = Field(1, ge=0)
    names: list[str] = Field(default_factory=list)


@pytest.mark.parametrize(
    "job",
    [
        Checked.model_construct(number="5"),
        Checked(number=1).model_copy(update={"number": -1}),
        Checked.model_construct(number=None),
        Checked.model_construct(number=1, names=[b"x"]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_job_that_nobody_validated_is_refused_here_not_by_a_worker(job):
    with pytest.raises(InvalidPayloadError):
        encode(job)


def test_fields_that_nobody_declared_arrive_where_they_are_allowed():
    class Open(Job, kind="open"):
        model_config = ConfigDict(extra="allow")

    job = Open(a=[1], b=None)
    assert arrived(job) == job
    with pytest.raises(InvalidPayloadError) as caught:
        encode(Open(a=(1,)))
    assert caught.value.field == "a"


@pytest.mark.parametrize(
    ("annotation", "plain"),
    [
        (int, True),
        (float | None, True),
        (Annotated[str, Field(pattern="^x", max_length=3)], True),
        (list[dict[str, Colour]], True),
        (Item, True),
        (list[float], False),
        (Any, False),
        (dict[int, int], False),
        (set[int], False),
        (int | str, False),
        (Point, False),
    ],
)
def test_only_types_whose_json_is_certain_are_read_in_the_faster_way(annotation, plain):
    assert form_of(job_of(annotation)).plain is plain


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS | st.datetimes() | st.decimals() | st.dates() | st.timedeltas() | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.none() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_whatever_a_field_holds_it_arrives_or_is_refused(value):
    job = job_of_any(it=value)

    try:
        there = arrived(job)
    except InvalidPayloadError as error:
        field = error.field
        there = None

    if there is None:
        assert field.startswith("it")
    else:
        assert repr(there.it) == repr(value)


job_of_any = job_of(Any)
_SETS = """
import json
from typing import Any
from duly.job import Job
from duly.payload import encode
class Tagged(Job, kind="tagged"):
    tags: set[str]
    deep: list[frozenset[tuple[str, int]]]
names = ["a", "b", "c", "dd", "e", "f\\u00e9"]
deep = [frozenset((name, number) for number, name in enumerate(names))]
print(json.dumps(encode(Tagged(tags=set(names), deep=deep))))
"""


def test_sets_are_written_in_the_same_order_by_every_process():
    def written(seed):
        done = subprocess.run(
            [sys.executable, "-c", _SETS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        )
        return json.loads(done.stdout)

    first, *others = [written(seed) for seed in ("0", "1", "2")]

    assert all(other == first for other in others)
    assert first["tags"] == sorted(first["tags"])
