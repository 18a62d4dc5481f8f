"""Certificates are replaced while clients run, as cert-manager does it: nobody restarts them."""

from functools import partial

import pytest

from duly.engine.transport.blocking_connection import BlockingConnection, BlockingEndpoints
from duly.engine.transport.connection import Connection
from duly.engine.transport.encryption import Encryption, Trust
from duly.engine.transport.endpoints import Endpoints
from duly.engine.transport.turns import finished
from duly.errors import BrokerDownError, BrokerError, ConfigError
from duly.runtime.settings import SentinelSettings
from duly.testing.certificates import Certificates
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until, wait_until


@pytest.fixture
def server(tmp_path):
    """A server of this test alone, which wants certificates of its clients."""
    with BrokerServer.tls(tmp_path / "server") as server:
        yield server


def replace_authority(server):
    """Give server and clients new certificates of a new authority, at the paths of the old ones."""
    old = server.certificates.authority.read_bytes()
    server.stop()
    Certificates.create(server.folder)
    assert server.certificates.authority.read_bytes() != old
    server.start()


async def answers(connection):
    """Tell whether the broker answers; a connection that was cut costs one call."""
    try:
        return await connection.command("PING")
    except BrokerDownError:
        return None


async def test_a_new_authority_needs_no_restart_of_services(server):
    async with Connection.open(server.settings()) as connection:
        assert await connection.command("PING")

        replace_authority(server)

        await until(partial(answers, connection))


def test_a_new_authority_needs_no_restart_of_programs_without_a_loop(server):
    endpoints = BlockingEndpoints(server.settings(), lambda: None)
    connection = BlockingConnection(server.settings(), endpoints)
    try:
        assert finished(connection.command("PING"))

        replace_authority(server)

        wait_until(lambda: finished(answers(connection)))
    finally:
        connection.close()
        endpoints.end()


async def test_sentinels_are_asked_with_the_new_certificates(server):
    nodes = (f"localhost:{server.port}",)
    sentinel = SentinelSettings(master="duly", nodes=nodes)
    settings = server.settings().model_copy(update={"sentinel": sentinel})

    async def refusal():
        # The server is no sentinel, which it can say only once the connection is encrypted.
        with pytest.raises(BrokerError) as caught:
            await connection.command("PING")
        return str(caught.value)

    async with Connection.open(settings) as connection:
        assert "it is no sentinel" in await refusal()

        replace_authority(server)

        assert "it is no sentinel" in await refusal()


def trust_of(files):
    return Trust(
        authority=str(files.authority), certificate=str(files.certificate), key=str(files.key)
    )


def replace(path, content):
    """Replace a file in one step, as Kubernetes does with those of a Secret."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def test_files_are_read_again_only_when_they_have_changed(tmp_path):
    files = Certificates.create(tmp_path / "files")
    encryption = Encryption(trust_of(files))
    first = encryption.context()
    assert encryption.context() is first

    replace(files.authority, files.authority.read_bytes())

    second = encryption.context()
    assert second is not first
    assert encryption.context() is second


def test_certificates_of_which_half_is_there_wait_for_the_rest(tmp_path):
    files, others = (Certificates.create(tmp_path / name) for name in ("files", "others"))
    encryption = Encryption(trust_of(files))
    first = encryption.context()

    replace(files.certificate, others.certificate.read_bytes())
    assert encryption.context() is first  # The key is not that of the certificate.
    replace(files.key, others.key.read_bytes())
    assert encryption.context() is not first


@pytest.mark.parametrize("gone", ["authority", "certificate", "key"])
def test_a_file_that_is_gone_leaves_what_was_read(tmp_path, gone):
    files = Certificates.create(tmp_path)
    encryption = Encryption(trust_of(files))
    first = encryption.context()

    getattr(files, gone).unlink()

    assert encryption.context() is first
    with pytest.raises(ConfigError, match=r"^redis\.tls\.(ca|cert)_file: "):
        Encryption(trust_of(files))


def test_the_endpoints_of_one_broker_share_a_context(tmp_path):
    server = BrokerServer.tls(tmp_path)
    endpoints = Endpoints(server.settings())

    assert endpoints.at("a", 1).tls is endpoints.at("b", 2).tls
