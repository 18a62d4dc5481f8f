"""At the start each mistake about the broker is one clear line; what would lose is refused."""

import asyncio
import contextlib
from functools import partial

import pytest
from pydantic import SecretStr

from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.errors import BrokerDownError, BrokerError, BrokerPolicyError, ConfigError
from duly.runtime.settings import RedisSettings, SentinelSettings, TlsSettings
from duly.testing.certificates import Certificates
from duly.testing.processes import free_port
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until


async def refusal(settings, kind=BrokerError):
    """Return what a service is told at its start."""
    with pytest.raises(kind) as caught:
        async with Connection.open(settings) as connection:
            await connection.check()
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    return message


async def accepted(settings):
    async with Connection.open(settings) as connection:
        await connection.check()


async def test_every_shape_of_broker_is_accepted(every_broker):
    await accepted(every_broker)


@pytest.fixture
def evicting(valkey_server, redis_server, request):
    server = {"valkey": valkey_server, "redis": redis_server}[request.param]
    with server.client(admin=True) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield server
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("evicting", ["valkey", "redis"], indirect=True)
async def test_a_broker_that_evicts_is_refused_unless_that_is_accepted(evicting):
    message = await refusal(evicting.settings(), BrokerPolicyError)

    assert "has maxmemory-policy allkeys-lru: it may evict tasks" in message
    assert "redis.allow_eviction: true" in message
    await accepted(evicting.settings().model_copy(update={"allow_eviction": True}))


@contextlib.asynccontextmanager
async def answering(info):
    """Answer whatever is asked by this INFO: servers that old are not to be had."""
    serving = set()

    async def answer(reader, writer):
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield RedisSettings(port=server.sockets[0].getsockname()[1])
        await asyncio.wait(serving)


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "4.0.9"])
async def test_an_old_redis_is_refused(version):
    async with answering(b"redis_version:" + version.encode()) as settings:
        message = await refusal(settings, BrokerPolicyError)

    assert f"is version {version}: duly needs Redis 6.2 or newer, or Valkey" in message


@pytest.mark.parametrize(
    "info", [b"redis_version:6.2.0", b"redis_version:10.0.1", b"valkey_version:9.1.2"]
)
async def test_a_new_one_is_accepted(info):
    async with answering(info) as settings:
        await accepted(settings)


@pytest.mark.parametrize(
    ("username", "password"), [("duly", "hunter2"), ("nobody", "hunter2"), (None, None)]
)
async def test_a_wrong_log_in_says_what_to_check(acl_server, username, password):
    secret = SecretStr(password) if password else None
    settings = RedisSettings(port=acl_server.port, username=username, password=secret)

    message = await refusal(settings)

    assert "refused the credentials" in message
    assert "check redis.username and redis.password" in message


async def test_a_new_password_in_the_file_logs_in_without_a_restart(tmp_path):
    path = tmp_path / "password"
    path.write_text("first-password\n")
    with BrokerServer.valkey(tmp_path / "server") as server, server.client(admin=True) as admin:
        admin.config_set("requirepass", "first-password")
        settings = RedisSettings(port=server.port, password_file=str(path))
        async with Connection.open(settings) as connection:
            await connection.check()
            path.write_text("second-password\n")
            admin.config_set("requirepass", "second-password")
            admin.client_kill_filter(_type="normal", skipme=True)

            await until(partial(answers, connection))


async def answers(connection):
    """Tell whether the broker answers; a connection that was cut costs one call."""
    try:
        return await connection.command("PING")
    except BrokerDownError:
        return None


async def test_a_password_and_a_file_with_it_exclude_each_other(tmp_path):
    settings = RedisSettings(password=SecretStr("hunter2"), password_file=str(tmp_path / "x"))

    message = await refusal(settings, ConfigError)

    assert "redis.password: is given, and so is a file with it" in message


async def test_a_password_in_an_address_is_not_told(acl_server):
    url = SecretStr(f"redis://duly:hunter2@127.0.0.1:{acl_server.port}/0")

    assert f"redis://127.0.0.1:{acl_server.port}/0" in await refusal(RedisSettings(url=url))


async def test_an_authority_that_did_not_sign_is_told(tls_server, tmp_path):
    settings = tls_server.settings()
    other = Certificates.create(tmp_path)
    tls = settings.tls.model_copy(update={"ca_file": str(other.authority)})

    message = await refusal(settings.model_copy(update={"tls": tls}))

    assert "certificate verify failed" in message


async def test_a_rediss_address_checks_the_certificate(tls_server):
    url = SecretStr(f"rediss://localhost:{tls_server.port}/0")
    assert "certificate verify failed" in await refusal(RedisSettings(url=url))

    tls = tls_server.settings().tls.model_copy(update={"enabled": False})
    await accepted(RedisSettings(url=url, tls=tls))


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
async def test_a_missing_certificate_is_a_mistake_of_the_settings(tls_server, key):
    settings = tls_server.settings()
    tls = settings.tls.model_copy(update={key: "/nowhere/at-all.pem"})

    message = await refusal(settings.model_copy(update={"tls": tls}), ConfigError)

    assert message == f"redis.tls.{key}: /nowhere/at-all.pem: No such file or directory"


async def test_plain_text_to_a_server_that_wants_tls_is_told(tls_server):
    await refusal(RedisSettings(port=tls_server.port), BrokerDownError)


async def test_tls_to_a_server_that_has_none_is_told(valkey_server):
    settings = RedisSettings(port=valkey_server.port, tls=TlsSettings(enabled=True))

    await refusal(settings, BrokerDownError)


async def test_a_host_that_nobody_knows_is_told():
    message = await refusal(RedisSettings(host="no-such-host.invalid"), BrokerDownError)

    assert message.startswith("the broker at no-such-host.invalid:6379 cannot be reached: ")


async def test_a_port_where_nobody_listens_is_told():
    port = free_port()

    message = await refusal(RedisSettings(port=port), BrokerDownError)

    assert f"127.0.0.1:{port} cannot be reached" in message


async def test_a_database_that_is_not_there_is_told(broker_settings):
    message = await refusal(broker_settings.model_copy(update={"db": 99}))

    assert "DB index is out of range" in message
    assert "check redis.db" in message


async def test_a_standalone_server_that_should_be_a_cluster_is_told(broker_settings):
    message = await refusal(broker_settings.model_copy(update={"cluster": True}))

    assert "redis.cluster" in message


async def test_a_cluster_that_should_be_a_standalone_server_is_told(cluster_server):
    settings = cluster_server.settings().model_copy(update={"cluster": False})

    message = await refusal(settings)

    assert "is a node of a Cluster" in message
    assert "redis.cluster: true" in message


async def test_an_unknown_master_is_told(sentinel_server):
    nodes = sentinel_server.settings().sentinel.nodes
    settings = RedisSettings(sentinel=SentinelSettings(master="nobody", nodes=nodes))

    assert "no sentinel knows a master named 'nobody'" in await refusal(settings, BrokerDownError)


async def test_a_sentinel_that_is_none_is_told(valkey_server):
    nodes = (f"127.0.0.1:{valkey_server.port}",)
    settings = RedisSettings(sentinel=SentinelSettings(master="duly", nodes=nodes))

    assert "redis.sentinel.nodes" in await refusal(settings)


@pytest.mark.parametrize("nodes", [(), ("nowhere",), ("host:port",)])
async def test_sentinels_without_an_address_are_a_mistake_of_the_settings(nodes):
    settings = RedisSettings(sentinel=SentinelSettings(master="duly", nodes=nodes))

    assert (await refusal(settings, ConfigError)).startswith("redis.sentinel.nodes: ")


async def test_a_url_of_another_kind_is_a_mistake_of_the_settings():
    settings = RedisSettings(url=SecretStr("http://localhost"))

    assert (await refusal(settings, ConfigError)).startswith("redis.url: ")


async def test_a_unix_socket_serves_commands_and_reads(tmp_path):
    path = tmp_path / "s"
    arguments = ("--unixsocket", str(path))
    with BrokerServer.valkey(tmp_path / "broker", arguments=arguments):
        settings = RedisSettings(url=SecretStr(f"unix://{path}"))
        await accepted(settings)
        async with Store.open(settings) as store:
            await store.register("default")
            reader = store.reader("default")
            assert await reader.read(server="alice", count=1, block_ms=1) == []
            await reader.close()
