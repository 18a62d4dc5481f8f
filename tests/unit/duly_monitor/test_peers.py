"""What a proxy says is believed of named proxies only."""

import pytest

from duly_monitor.peers import Proxies, networks, same_place


def scope(peer, **headers):
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {"type": "http", "client": (peer, 5), "scheme": "http", "headers": pairs}


def headers_of(resolved):
    return {name.decode(): value.decode() for name, value in resolved["headers"]}


def test_a_named_proxy_says_who_asks_and_how():
    proxies = Proxies(["10.0.0.0/8"])

    found = proxies.resolved(
        scope(
            "10.1.2.3",
            host="monitor:8080",
            x_forwarded_for="203.0.113.7, 10.9.9.9",
            x_forwarded_proto="https",
            x_forwarded_host="duly.example",
        )
    )

    assert found["client"][0] == "203.0.113.7"
    assert found["scheme"] == "https"
    assert headers_of(found)["host"] == "duly.example"


@pytest.mark.parametrize("peer", ["192.0.2.1", "", "unix:", "::1", "2001:db8::1"])
def test_anybody_else_is_not_believed(peer):
    proxies = Proxies(["10.0.0.0/8"], ["X-Forwarded-User"])

    found = proxies.resolved(
        scope(
            peer,
            host="h",
            x_forwarded_for="127.0.0.1",
            x_forwarded_user="root",
            forwarded="for=127.0.0.1",
            x_forwarded_proto="https",
        )
    )

    assert found["client"][0] == peer
    assert found["scheme"] == "http"
    assert set(headers_of(found)) == {"host"}
    assert found["duly.claims_proxy"]


def test_what_the_sender_put_in_front_of_the_chain_is_not_believed():
    found = Proxies(["10.0.0.0/8"]).resolved(
        scope("10.0.0.1", x_forwarded_for="127.0.0.1, 198.51.100.4")
    )

    assert found["client"][0] == "198.51.100.4"


@pytest.mark.parametrize("chain", ["nonsense", "127.0.0.1, x", ","])
def test_a_chain_that_cannot_be_read_is_the_proxys(chain):
    found = Proxies(["10.0.0.0/8"]).resolved(scope("10.0.0.1", x_forwarded_for=chain))

    assert found["client"][0] == "10.0.0.1"


def test_a_mapped_address_counts_as_what_it_stands_for():
    assert Proxies(["10.0.0.0/8"]).trusts("::ffff:10.0.0.1")
    assert not Proxies(["::/0"]).trusts("10.0.0.1")


def test_networks_are_checked():
    with pytest.raises(ValueError, match="x"):
        networks(["x"])


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "same"),
    [
        ("duly.example", "duly.example", "https", True),
        ("duly.example", "duly.example:443", "https", True),
        ("duly.example:443", "DULY.example", "https", True),
        ("duly.example:80", "duly.example", "https", False),
        ("duly.example", "duly.example:8080", "http", False),
        ("", "", "http", False),
        (":80", "", "http", False),
    ],
)
def test_a_default_port_may_be_left_out(origin, host, scheme, same):
    assert same_place(origin, host, scheme) is same
