"""What a class refuses for the bounds of a field, whoever has its schema alone refuses too."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated

import pytest
from pydantic import (
    AwareDatetime,
    Field,
    FutureDate,
    HttpUrl,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    ValidationError,
    create_model,
)

from duly.job import Job
from duly.job_schema import schema_of
from duly.payload_bounds import BOUNDS_KEY, BoundsError, bounds_of, out_of_bounds
from duly.payload_schema import MisfitError, PayloadSchema, SchemaUnreadableError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def job_of(kind):
    return create_model("Bounded", __base__=Job, __cls_kwargs__={"kind": "bounded"}, f=(kind, ...))


@pytest.mark.parametrize(
    ("kind", "within", "beyond", "why"),
    [
        (Annotated[Decimal, Field(gt=0)], "0.01", "-3.50", "greater than 0"),
        (Annotated[Decimal, Field(le=Decimal("9.5"))], "9.5", "9.51", "less than or equal to 9.5"),
        (Annotated[Decimal, Field(multiple_of=Decimal("0.5"))], "1.5", "1.2", "multiple of 0.5"),
        (Annotated[Decimal, Field(max_digits=3)], "12.3", "12345", "no more than 3 digits"),
        (Annotated[Decimal, Field(decimal_places=2)], "1.23", "1.234", "no more than 2 decimal"),
        (Annotated[timedelta, Field(gt=timedelta(0))], "PT1S", "-PT5S", "greater than 0 seconds"),
        (Annotated[date, Field(ge=date(2026, 1, 1))], "2026-01-01", "2025-12-31", "2026-01-01"),
        (
            Annotated[datetime, Field(lt=NOON)],
            "2026-01-31T11:00:00Z",
            "2026-01-31T14:00:00+01:00",
            "less than 2026-01-31T12:00:00Z",
        ),
        (Annotated[time, Field(ge=time(9))], "09:00:00", "08:59:59", "equal to 09:00:00"),
        (AwareDatetime, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "have timezone info"),
        (NaiveDatetime, "2026-01-31T12:00:00", "2026-01-31T12:00:00Z", "not have timezone info"),
        (PastDate, "2020-01-01", "2999-01-01", "in the past"),
        (PastDatetime, "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "in the past"),
        (FutureDate, "2999-01-01", "2020-01-01", "in the future"),
        (HttpUrl, "https://example.org/", "ftp://example.org/", "URL scheme should be"),
        (list[Annotated[Decimal, Field(gt=0)]], ["1"], ["1", "-1"], "greater than 0"),
        (Annotated[Decimal, Field(gt=0)] | None, None, "-1", "must be text"),
    ],
)
def test_the_schema_refuses_what_the_class_refuses(kind, within, beyond, why):
    job = job_of(kind)
    schema = PayloadSchema("bounded", json.loads(json.dumps(schema_of(job))))

    schema.fit({"f": within})
    job.model_validate_json(json.dumps({"f": within}))
    with pytest.raises(ValidationError):
        job.model_validate_json(json.dumps({"f": beyond}))
    with pytest.raises(MisfitError, match=r"^f") as caught:
        schema.fit({"f": beyond})
    assert why in str(caught.value)
    if isinstance(beyond, str):
        assert beyond not in str(caught.value)


def test_what_comes_twice_in_a_set_is_taken_once_as_by_the_class():
    job = job_of(set[int])

    found = PayloadSchema("bounded", schema_of(job)).fit({"f": [2, 1, 2]})

    assert found == {"f": [1, 2]} == json.loads(job(f=[2, 1, 2]).model_dump_json())


def test_what_is_not_bound_is_published_as_ever():
    assert bounds_of({"type": "decimal"}) == {}
    assert BOUNDS_KEY not in json.dumps(schema_of(job_of(Decimal)))


@pytest.mark.parametrize("bounds", [{"gt": "x"}, {"max_digits": "many"}, 7])
def test_foreign_bounds_that_are_none_are_an_unreadable_schema(bounds):
    schema = {"properties": {"f": {"type": "string", "format": "decimal", BOUNDS_KEY: bounds}}}

    with pytest.raises(BoundsError):
        out_of_bounds("decimal", bounds, "1")
    with pytest.raises(SchemaUnreadableError):
        PayloadSchema("bounded", schema).fit({"f": "1"})
