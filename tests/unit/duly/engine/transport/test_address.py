"""The settings mean the same for every connection, and no error quotes a password."""

import asyncio
import ssl
import traceback

import pytest
from pydantic import SecretStr

from duly.engine.transport.address import address_of
from duly.engine.transport.connection import Connection
from duly.engine.transport.listener import Listener
from duly.engine.transport.reader import Reader
from duly.errors import ConfigError
from duly.runtime.settings import RedisSettings, TlsSettings
from duly.testing.waiting import until

SECRET = "hunter2"


def read(url, **settings):
    return address_of(RedisSettings(url=SecretStr(url), **settings))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, 0, "", None)),
        ("redis://h:1234/5", ("h", 1234, 5, "", None)),
        ("redis://h/5/", ("h", 6379, 5, "", None)),
        ("redis://h?db=5", ("h", 6379, 5, "", None)),
        ("redis://[::1]:7/1", ("::1", 7, 1, "", None)),
        ("redis://:p@h", ("h", 6379, 0, "", "p")),
        ("redis://u:p%40s%2Fs@h:1", ("h", 1, 0, "u", "p@s/s")),
        ("redis://u@h", ("h", 6379, 0, "u", None)),
        ("redis://u:@h", ("h", 6379, 0, "u", "")),
        ("redis://u:a@b@h:1", ("h", 1, 0, "u", "a@b")),
        ("redis://h?username=u&password=p", ("h", 6379, 0, "u", "p")),
    ],
)
def test_a_url_says_where_and_who(url, expected):
    address = read(url)
    found = (address.host, address.port, address.db, address.username, address.password)
    assert found == expected


def test_a_socket_has_a_path():
    address = read("unix://u:p@/run/redis.sock?db=2")
    assert (address.path, address.db, address.username) == ("/run/redis.sock", 2, "u")
    assert str(address) == "unix:///run/redis.sock"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hun/ter2hunter2@host:6379/0",
        "redis://:hunter2/x@host:6379/0",
        "redis://:hunter2?x=1@host",
        "redis://u:1?hunter2@host",
        "redis://u:1?hunter2=x@host",
        "redis://u:1#hunter2@host",
        "redis://u:hunter2#@host",
        "redis://u:hunter2@host:port/0",
        "redis://u:hunter2@host:99999/0",
        "redis://u:hunter2@host/name",
        "redis://u:hunter2@[host/0",
        "redis://u:hunter2:6379",
        "redis://hunter2:hunter2:hunter2",
        "redis:hunter2@host",
        "hunter2@host",
        "http://u:hunter2@host",
        "redis://host/0?hunter2-and-more=1",
        "redis://host?db=hunter2",
        "redis://host/0?socket_timeout=hunter2",
        "redis://host/0?family=hunter2",
        "rediss://host/0?ssl_cert_reqs=hunter2",
        "unix://u:hunter2@",
    ],
)
def test_no_error_quotes_what_may_be_a_password(url):
    with pytest.raises(ConfigError) as caught:
        read(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert str(caught.value).startswith("redis.url: ")
    assert SECRET not in shown.replace(url, "")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@h:1/0", "redis://:hunter2@h", "redis://h?password=hunter2"]
)
def test_an_address_is_fit_for_a_log(url):
    assert SECRET not in str(read(url))


@pytest.mark.parametrize("option", ["timeout", "max_connections", "health_check_interval", "sll"])
def test_an_option_that_duly_does_not_know_is_named_with_those_it_knows(option):
    with pytest.raises(ConfigError) as caught:
        read(f"redis://h?{option}=5")
    message = str(caught.value)
    assert f"has the option {option}, which duly does not know" in message
    assert "socket_timeout" in message
    assert "ssl_ca_certs" in message


@pytest.mark.parametrize(
    ("query", "verified", "named"),
    [
        ("", True, True),
        ("?ssl_cert_reqs=none", False, False),
        ("?ssl_cert_reqs=optional", True, True),
        ("?ssl_cert_reqs=required&ssl_check_hostname=false", True, False),
        ("?ssl_check_hostname=true", True, True),
    ],
)
def test_the_options_of_tls_are_obeyed(query, verified, named):
    tls = read(f"rediss://h{query}").present_tls
    assert (tls.verify_mode is ssl.CERT_REQUIRED, tls.check_hostname) == (verified, named)


def test_the_options_of_tls_need_encryption():
    with pytest.raises(ConfigError, match="the option ssl_ca_certs without encryption"):
        read("redis://h?ssl_ca_certs=/nowhere.pem")
    with pytest.raises(ConfigError, match=r"redis.tls.ca_file: /nowhere.pem: "):
        read("redis://h?ssl_ca_certs=/nowhere.pem", tls=TlsSettings(enabled=True))


def test_timeouts_of_the_url_come_before_the_settings():
    address = read("redis://h?socket_timeout=0.5&socket_connect_timeout=3")
    assert (address.timeout, address.connect_timeout) == (0.5, 3.0)
    assert (read("redis://h").timeout, read("redis://h").connect_timeout) == (2.0, 2.0)


@pytest.fixture
def users(acl_server):
    with acl_server.client(admin=True) as admin:
        admin.execute_command("ACL SETUSER open on nopass ~* &* +@all")
        yield acl_server
        admin.execute_command("ACL DELUSER open")


async def users_of(settings, admin):
    """Return as whom the commands, a read and the listening of one client are logged in."""
    async with Connection.open(settings) as connection:
        found = {await connection.command("ACL", "WHOAMI")}
        reader = Reader(connection, "duly:{default}:stream")
        await connection.command("DEL", "duly:{default}:stream")
        await connection.command(
            "XGROUP", "CREATE", "duly:{default}:stream", "workers", "0", "MKSTREAM"
        )
        await reader.read("workers", "a", count=1, block_ms=1)
        heard = []
        listening = asyncio.create_task(
            Listener(connection, ("duly:{default}:control",), heard.append).run(1.0)
        )
        await until(lambda: heard)
        found |= {user["user"].encode() for user in admin.client_list() if user["db"] == "0"
                  and user["cmd"] in {"subscribe", "ping", "xreadgroup"}}  # fmt: skip
        listening.cancel()
        await asyncio.wait([listening])
        reader.close()
    return found


@pytest.mark.parametrize("password", [None, "", "any"])
async def test_a_user_without_a_password_is_who_every_connection_is(users, password):
    secret = None if password is None else SecretStr(password)
    settings = RedisSettings(port=users.port, username="open", password=secret)
    with users.client(admin=True) as admin:
        assert await users_of(settings, admin) == {b"open"}


async def test_an_empty_password_without_a_user_is_none(valkey_server):
    settings = RedisSettings(port=valkey_server.port, password=SecretStr(""))
    async with Connection.open(settings) as connection:
        assert await connection.command("PING") == b"PONG"


async def test_an_option_that_the_url_must_not_have_is_refused_at_the_start(valkey_server):
    settings = RedisSettings(url=SecretStr(f"{valkey_server.url}?timeout=5"))
    with pytest.raises(ConfigError, match="the option timeout, which duly does not know"):
        Connection(settings)


async def test_a_family_of_addresses_is_obeyed(valkey_server):
    url = f"redis://localhost:{valkey_server.port}/0?family=ipv4"
    async with Connection.open(RedisSettings(url=SecretStr(url))) as connection:
        assert await connection.command("PING") == b"PONG"
