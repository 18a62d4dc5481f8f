"""Jobs of a kind whose class is not here are equal, in bytes, to those of the class."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from pydantic import AnyUrl, BaseModel, Field, PlainSerializer, ValidationError, field_serializer

from duly.described_job import DescribedJob, described_job
from duly.engine.storage.store import lock_digest
from duly.job import Aggregate, Job, Policy
from duly.job_schema import policy_of, schema_of
from duly.payload import form_of
from duly.payload_schema import SchemaUnreadableError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Item(BaseModel):
    sku: str
    count: int = 1
    price: Decimal = Decimal("9.90")


class Node(BaseModel):
    name: str
    children: "list[Node]" = []


class Everything(Job, kind="everything", policy=Policy(unique_for=timedelta(hours=1))):
    """One field of each type."""

    number: int
    text: str = "x"
    real: float = 0.5
    flag: bool = False
    price: Decimal = Decimal("12.50")
    at: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    day: date = date(2026, 1, 2)
    hour: time = time(12, 30)
    wait: timedelta = timedelta(hours=1, seconds=0.5)
    uid: UUID | None = None
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    choice: Literal["a", 1, True] = "a"
    item: Item = Item(sku="s")
    items: list[Item] = Field(default_factory=list)
    tags: set[str] = Field(set())
    sizes: frozenset[int] = frozenset({3, 1, 2})
    either: int | str = 5
    amount: int | float = 1
    raw: bytes = b"x"
    by_day: dict[date, float] = Field({})
    by_id: dict[int, Item] = Field({})
    pair: tuple[int, str] = (1, "a")
    many: tuple[float, ...] = (1.0,)
    anything: Any = None
    aliased: int = Field(1, alias="Other")
    url: AnyUrl | None = None
    address: IPv4Address = IPv4Address("192.0.2.1")
    seconds: Annotated[
        timedelta, PlainSerializer(lambda wait: wait.total_seconds(), return_type=float)
    ] = timedelta(seconds=1)
    tree: Node | None = None
    upper: str = "A"

    @field_serializer("upper")
    def _lower(self, value: str) -> str:
        return value


PAYLOADS = {
    "only what is required": {"number": 1},
    "instants": {"number": 1, "at": "2026-01-02T03:04:05+00:00", "wait": "PT3600S"},
    "an offset": {"number": 1, "at": "2026-01-02T03:04:05+02:00", "day": "2026-02-03"},
    "a whole number for a real one": {"number": 1, "real": 3, "many": [1, 2.5]},
    "a decimal": {"number": 1, "price": "100.00"},
    "an id": {"number": 1, "uid": "0198F00D000070008000000000000000"},
    "an address": {"number": 1, "url": "https://example.org", "address": "192.0.2.7"},
    "models": {"number": 1, "item": {"sku": "t"}, "items": [{"sku": "u", "count": 2}]},
    "sets": {"number": 1, "tags": ["b", "a", "c"], "sizes": [9, 10, 1]},
    "unions": {"number": 1, "either": "five", "amount": 2.0},
    "an integer of a union": {"number": 1, "either": 7, "amount": 2},
    "dictionaries": {"number": 1, "by_day": {"2026-01-02": 1}, "by_id": {"7": {"sku": "v"}}},
    "a tuple": {"number": 1, "pair": [2, "b"]},
    "anything": {"number": 1, "anything": {"b": [1, 1.0, None, "x"], "a": True}},
    "enumerations": {"number": 1, "colour": "blue", "level": 2, "choice": 1},
    "nested": {"number": 1, "tree": {"name": "a", "children": [{"name": "b"}]}},
    "a serializer": {"number": 1, "seconds": 2.5, "upper": "B"},
    "another order": {"upper": "B", "number": 1, "text": "", "flag": True},
}
DESCRIBED = described_job("everything", schema_of(Everything), policy_of(Everything))


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_equal_to_that_of_the_class_byte_by_byte(payload):
    real, described = form_of(Everything), form_of(DESCRIBED)

    by_class = real.encode(real.decode(payload))
    by_schema = described.encode(described.decode(payload))

    assert msgspec.json.encode(by_schema) == msgspec.json.encode(by_class)
    assert lock_digest("everything", by_schema) == lock_digest("everything", by_class)


def test_a_described_job_has_kind_and_policy():
    class Small(
        Job,
        kind="small",
        policy=Policy(
            queue="low", lifetime=timedelta(hours=2), aggregate=Aggregate(max_size=7),
            backoff=lambda *_: timedelta(0), is_failure=bool,
        ),
    ):  # fmt: skip
        pass

    found = described_job("small", schema_of(Small), policy_of(Small))

    assert issubclass(found, DescribedJob)
    assert found.kind == "small"
    assert found.policy == Small.policy.model_copy(
        update={"backoff": "full_jitter", "is_failure": None}
    )


def test_the_same_kind_is_described_by_the_same_class():
    again = described_job("everything", schema_of(Everything), policy_of(Everything))

    assert again is DESCRIBED
    assert again(number=1) == DESCRIBED(number=1)
    assert described_job("other", {"type": "object"}, {}) is not again


def test_what_a_newer_version_says_in_a_policy_is_passed_over():
    found = described_job("newer", None, {"queue": "low", "shards": 7, "max_attempts": -1})

    assert found.policy == Policy(queue="low")


def test_every_wrong_field_is_named_with_its_type_and_what_would_be_right():
    wrong = {
        "number": "1", "price": 12.5, "colour": "green", "numbr": 1, "item": {"count": 1},
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        DESCRIBED(**wrong)

    found = {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}
    assert found == {
        "number": "is text, but must be integer, such as 7",
        "price": 'is a number, but must be text (decimal), such as "12.50"',
        "colour": 'is text, but must be one of "red", "blue"',
        "numbr": "is no field of everything (did you mean 'number'?)",
        "item.sku": "is missing: give text",
    }


def test_the_form_of_a_text_is_checked():
    with pytest.raises(ValidationError, match=r"must be text \(format date-time\), such as"):
        DESCRIBED(number=1, at="yesterday")


def test_without_a_schema_every_payload_is_taken():
    free = described_job("free", None, {})

    assert form_of(free).encode(free(b=[1], a={"c": None})) == {"b": [1], "a": {"c": None}}


def test_fields_may_have_names_that_a_model_uses_itself():
    named = described_job(
        "named", {"properties": {"copy": {"type": "integer"}, "kind": {"type": "string"}}}, {}
    )

    job = form_of(named).decode({"copy": 1, "kind": "x"})
    assert form_of(named).encode(job) == {"copy": 1, "kind": "x"}
    assert job.kind == "named"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"properties": []},
        {"type": "object", "properties": {"a": {"pattern": 5}}},
        {"required": "a"},
    ],
)
def test_a_schema_that_is_none_is_refused(schema):
    with pytest.raises(SchemaUnreadableError, match="published schema of odd cannot be read"):
        described_job("odd", schema, {})


def test_a_kind_that_is_no_name_is_refused():
    with pytest.raises(ValueError, match="not the name of a kind"):
        described_job("a b", {}, {})
