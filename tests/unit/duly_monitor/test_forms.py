import pytest
from starlette.requests import Request

from duly_monitor.forms import MOST_FIELDS, address_of, form_of, returning


def request(body=b"", query=b""):
    async def receive():
        return {"type": "http.request", "body": body}

    scope = {
        "type": "http", "method": "POST", "path": "/monitoring/x", "query_string": query,
        "headers": [(b"host", b"localhost")], "server": ("localhost", 80), "scheme": "http",
    }  # fmt: skip
    return Request(scope, receive)


async def test_a_form_has_values_blank_ones_and_several():
    form = await form_of(request(b"task=a&task=b&reason=&name=%C3%BC"))

    assert form.all("task") == ["a", "b"]
    assert (form.one("reason", "x"), form.one("none", "x"), form.one("name")) == ("", "x", "ü")


async def test_a_form_with_too_many_fields_is_refused(client):
    answer = await client.post(
        "/monitoring/bulk/selected", content="&".join(["a=b"] * (MOST_FIELDS + 1))
    )

    assert answer.status_code == 400
    assert "Select fewer tasks" in answer.text


def test_an_address_leaves_out_the_message():
    assert address_of(request(query=b"state=retry&done=run&q=a%26b")) == (
        "/monitoring/x?state=retry&q=a%26b"
    )
    assert address_of(request()) == "/monitoring/x"


@pytest.mark.parametrize(
    "address",
    [
        "", "x", "https://evil.example", "//evil.example", "/\\evil.example", "/other",
        "/monitoring/\r\nSet-Cookie: x", "/monitoring/\tx", "/monitoringx", "javascript:x",
        "/monitoring/ü", "http://[", "//[/monitoring/",
    ],
)  # fmt: skip
def test_what_is_no_page_of_ours_is_not_returned_to(address):
    assert returning(address, prefix="/monitoring", otherwise="/home") == "/home"


def test_a_page_of_ours_is_returned_to_as_it_was():
    address = "/monitoring/queues/low?state=retry&cursor=1:a%2Fb"

    assert returning(address, prefix="/monitoring", otherwise="/home") == address
    assert returning("//evil.example/x", prefix="", otherwise="/home") == "/home"
    assert returning("/queues/low", prefix="", otherwise="/home") == "/queues/low"
