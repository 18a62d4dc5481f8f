from typing import TYPE_CHECKING, Annotated

import pytest
from pydantic import Field
from taskiq_dependencies import Depends

from duly.app.signatures import payload_class, read_signature
from duly.job import Policy
from duly.task import TaskContext

if TYPE_CHECKING:
    from decimal import Decimal as Money


def open_mail():
    return "mail"


def taken(function):
    signature = read_signature(function)
    return list(signature.payload), signature.contexts, sorted(signature.injected)


def test_what_the_worker_provides_is_no_part_of_the_payload():
    def send(
        order_id: int,
        note: str = "",
        *,
        context: TaskContext = Depends(),
        mail: str = Depends(open_mail),
        other: Annotated[str, Depends(open_mail)] = "",
    ): ...

    expected = (["order_id", "note"], ("context",), ["context", "mail", "other"])
    assert taken(send) == expected


def test_a_context_needs_no_marker():
    def send(order_id: int, context: TaskContext): ...

    assert taken(send) == (["order_id"], ("context",), ["context"])


def test_the_markers_of_fastapi_are_understood():
    fastapi = pytest.importorskip("fastapi")

    def send(order_id: int, mail: str = fastapi.Depends(open_mail)): ...

    assert taken(send) == (["order_id"], (), ["mail"])


def test_an_object_is_read_by_how_it_is_called():
    class Sender:
        async def __call__(self, order_id: int, context: TaskContext): ...

    assert taken(Sender()) == (["order_id"], ("context",), ["context"])


def positional(order_id, /): ...


def several(*order_ids: int): ...


def named(**fields: int): ...


def untyped(order_id): ...


def unresolved(amount: "Money"): ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (positional, "the parameter order_id has no name of its own"),
        (several, r"the parameter \*order_ids: int has no name of its own"),
        (named, r"the parameter \*\*fields: int has no name of its own"),
        (untyped, "'order_id' has no annotation"),
        (unresolved, "annotation 'Money' cannot be found at run time; import it outside"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused(function, expected):
    with pytest.raises(TypeError, match=expected) as caught:
        read_signature(function)

    assert f"{function.__module__}.{function.__qualname__}" in str(caught.value)


def test_the_payload_has_the_parameters_as_fields():
    def send(order_id: Annotated[int, Field(gt=0)], tags: list[str] = []):  # noqa: B006
        """Send the invoice."""

    made = payload_class(send, read_signature(send), kind="send", policy=Policy(queue="low"))

    first, second = made(order_id=1), made(order_id=2)
    first.tags.append("x")
    assert (first.order_id, second.tags) == (1, [])
    assert (made.kind, made.policy.queue, made.__doc__) == ("send", "low", "Send the invoice.")
    with pytest.raises(ValueError, match="greater than 0"):
        made(order_id=0)


@pytest.mark.parametrize("name", ["kind", "policy", "_private", "model_dump", "copy"])
def test_a_parameter_that_cannot_be_a_field_is_refused(name):
    namespace = {}
    exec(f"def send({name}: int): ...", {"__name__": "shop"}, namespace)
    send = namespace["send"]

    with pytest.raises(TypeError, match=f"a parameter cannot be called '{name}'; rename it"):
        payload_class(send, read_signature(send), kind="send", policy=Policy())


def test_a_type_that_pydantic_does_not_know_is_refused():
    class Connection: ...

    def send(connection: Connection): ...

    with pytest.raises(TypeError, match="a parameter cannot be in a payload"):
        payload_class(send, read_signature(send), kind="send", policy=Policy())
