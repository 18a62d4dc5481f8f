"""What a class of jobs says of itself."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from pydantic import BaseModel, Field, computed_field

from duly.job import Job, Policy, Rate
from duly.job_schema import SchemaError, description_of, policy_of, schema_of


def patient(number, error):
    return timedelta(seconds=number)


class Address(BaseModel):
    """Where it goes."""

    street: str


class Ship(Job, kind="ship", policy=Policy(queue="low", backoff=patient, rate=Rate(count=5))):
    """Ship an order
    to its customer.

    Details that nobody needs elsewhere.
    """

    order_id: int = Field(alias="orderId", description="of the shop")
    price: Decimal
    to: Address
    tags: list[str] = Field(default_factory=list)
    due: date | None = None

    @computed_field
    @property
    def twice(self) -> Decimal:
        return self.price * 2


class Silent(Job, kind="silent"):
    pass


def test_a_schema_has_the_fields_as_they_travel():
    schema = schema_of(Ship)

    assert list(schema["properties"]) == ["order_id", "price", "to", "tags", "due"]
    assert schema["required"] == ["order_id", "price", "to"]
    assert schema["properties"]["order_id"] == {"type": "integer", "description": "of the shop"}
    assert schema["properties"]["price"] == {"type": "string", "format": "decimal"}
    assert schema["properties"]["tags"]["default"] == []
    assert schema["additionalProperties"] is False


def test_a_schema_repeats_no_names():
    schema = schema_of(Ship)

    assert "title" not in str(schema)
    assert "description" not in schema


def test_a_field_that_json_cannot_describe_is_an_error():
    class Call(Job, kind="call"):
        function: Callable[[], int]

    with pytest.raises(SchemaError):
        schema_of(Call)


def test_the_description_is_the_first_paragraph():
    assert description_of(Ship) == "Ship an order to its customer."


def test_the_docstring_of_the_base_describes_nothing():
    assert description_of(Silent) == ""


def test_a_policy_names_its_functions():
    policy = policy_of(Ship)

    assert policy["queue"] == "low"
    assert policy["backoff"].endswith("test_job_schema.patient")
    assert policy["is_failure"] is None
    assert policy["rate"] == {"count": 5, "per": "PT1S", "burst": 1}
    assert Policy.model_validate(policy | {"backoff": "constant"}).timeout == timedelta(minutes=30)


def test_an_object_that_is_called_is_named_by_its_class():
    class Wait:
        def __call__(self, *_):
            return timedelta(0)

    class Waits(Job, kind="waits", policy=Policy(backoff=Wait())):
        pass

    assert policy_of(Waits)["backoff"].endswith("Wait")
