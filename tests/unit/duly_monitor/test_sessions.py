"""A cookie says who is logged in, and nobody else can write one."""

from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import Response

from duly.testing.clock import FrozenClock
from duly_monitor.sessions import Sessions, key_of_password

OLD, NEW = "o" * 32, "n" * 32


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def make(clock):
    def make(*keys):
        return Sessions(lambda: keys, age=timedelta(hours=1), path="/monitoring", clock=clock)

    return make


def request(cookie="", scheme="http"):
    headers = [(b"cookie", cookie.encode("latin-1"))] if cookie else []
    return Request({"type": "http", "headers": headers, "scheme": scheme})


def cookie_of(sessions, scheme="http"):
    response = Response()
    sessions.begin(request(scheme=scheme), response, "ada", "operator")
    return response.headers["set-cookie"]


def test_a_session_is_read_again(make):
    cookie = cookie_of(make(NEW)).partition(";")[0]

    found = make(NEW).of(request(cookie))

    assert (found.user, found.role) == ("ada", "operator")


def test_the_cookie_is_for_this_site_only(make):
    plain, secure = cookie_of(make(NEW)), cookie_of(make(NEW), "https")

    for text in ("HttpOnly", "SameSite=lax", "Path=/monitoring", "Max-Age=3600"):
        assert text in plain
    assert "Secure" not in plain
    assert "Secure" in secure


def test_keys_are_rotated(make):
    old = cookie_of(make(OLD)).partition(";")[0]

    assert make(NEW, OLD).of(request(old)) is not None
    assert make(NEW).of(request(old)) is None


def test_keys_are_read_each_time(clock):
    keys = [OLD]
    sessions = Sessions(lambda: keys, age=timedelta(hours=1), path="/monitoring", clock=clock)
    old = cookie_of(sessions).partition(";")[0]
    keys[:] = [NEW, OLD]
    new = cookie_of(sessions).partition(";")[0]
    assert old != new
    assert sessions.of(request(old)) is not None

    keys[:] = [NEW]
    assert sessions.of(request(old)) is None
    assert sessions.of(request(new)) is not None


def test_a_session_ends(make, clock):
    cookie = cookie_of(make(NEW)).partition(";")[0]
    clock.advance(3_601)

    assert make(NEW).of(request(cookie)) is None


def test_a_cookie_for_one_use_is_none_for_another(make):
    response = Response()
    make(NEW).remember(request(), response, "state", {"nonce": "x"})
    text = response.headers["set-cookie"].partition(";")[0]

    assert make(NEW).recall(request(text), "state") == {"nonce": "x"}
    assert make(NEW).of(request(text.replace("duly-state", "duly-session"))) is None


@pytest.mark.parametrize(
    "text",
    ["", "x", ".", "a.b", "eyJ9.x", "ü.ü", "x" * 9_000, "e30." + "0" * 64],
)
def test_what_is_not_signed_is_no_session(make, text):
    assert make(NEW).of(request(f"duly-session={text}")) is None


def test_each_change_of_the_cookie_is_noticed(make):
    name, _, value = cookie_of(make(NEW)).partition(";")[0].partition("=")
    for place in range(len(value)):
        other = "A" if value[place] != "A" else "B"
        changed = f"{name}={value[:place]}{other}{value[place + 1 :]}"
        assert make(NEW).of(request(changed)) is None


def test_logging_out_takes_the_cookie_away(make):
    response = Response()
    make(NEW).end(request(), response)

    assert 'duly-session=""' in response.headers["set-cookie"]
    assert "Max-Age=0" in response.headers["set-cookie"]


def test_a_password_makes_the_same_key_everywhere():
    assert key_of_password("x") == key_of_password("x") != key_of_password("y")
