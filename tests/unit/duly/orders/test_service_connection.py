import pytest

from duly.errors import ConfigError
from duly.orders.service_connection import ServiceConnection, read_place
from duly.runtime.order_settings import HttpSourceSettings


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is empty"),
        ("orders.example.com", "is not a URL of http or https"),
        ("ftp://orders.example.com/", "is not a URL of http or https"),
        ("http:///pending", "is not a URL of http or https"),
        ("https://host:port/", "is not a URL"),
        ("https://host/\n", "is not a URL"),
        ("https://duly:hunter2@host/", "holds a user name or a password"),
    ],
)
def test_a_wrong_address_is_refused_and_not_quoted(url, problem):
    with pytest.raises(ConfigError, match=rf"^orders\.http\.url: {problem}") as raised:
        read_place(url)

    assert "hunter2" not in str(raised.value)
    assert raised.value.remedy


def test_a_place_shows_no_query():
    assert str(read_place("https://host:8443/p?key=hunter2")) == "https://host:8443/p"


@pytest.mark.parametrize("token", ["", "hunter2\n", "hunter2\r\nX-Evil: 1", "hünter2"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_quoted(token):
    with pytest.raises(ConfigError, match=r"^orders\.http\.token: cannot stand") as raised:
        ServiceConnection(read_place("https://host/"), HttpSourceSettings(), 1.0, token)

    assert "nter2" not in str(raised.value)


def test_an_authority_that_cannot_be_read_is_a_wrong_setting():
    settings = HttpSourceSettings(ca_file="/no/such.pem")

    with pytest.raises(ConfigError, match=r"^orders\.http\.ca_file: cannot be read"):
        ServiceConnection(read_place("https://host/"), settings, 1.0)
