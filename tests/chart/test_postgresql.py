"""The chart's PostgreSQL takes a new password from its Secret while it runs."""

import base64
import hashlib
import hmac
import os
import subprocess
from functools import partial

import psycopg
import pytest

from duly.testing.postgres import HOST, USER
from duly.testing.waiting import wait_until

PASSWORDS = ("a first one", 'new \' pass\\word $x "q" ü')


@pytest.fixture
def follow(render, postgres_server, tmp_path):
    """`follow()`: the script of the pod, beside a server that runs already; the file it follows."""
    text = render().one("ConfigMap", "-postgresql")["data"]["start.sh"]
    script, file = tmp_path / "start.sh", tmp_path / "password"
    script.write_text(text)
    file.write_text(PASSWORDS[0])
    environment = {
        **os.environ,
        "PATH": f"{postgres_server.programs}:{os.environ['PATH']}",
        "POSTGRES_USER": USER,
        "PGHOST": HOST,
        "PGPORT": str(postgres_server.port),
        "DULY_EVERY_SECONDS": "0.1",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["sh", script, file, "postgres", "sleep", "600"],
            stdout=log,
            stderr=log,
            env=environment,
        )
    yield file
    process.terminate()
    process.wait()


def verifier(server):
    """Give what the server keeps of the password."""
    address = server.url().replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [USER])
        return row.fetchone()[0]


def changed(server, before):
    found = verifier(server)
    return found if found != before else None


def test_a_new_password_is_set_whatever_is_in_it(follow, postgres_server):
    first = wait_until(partial(changed, postgres_server, None))
    follow.write_text(PASSWORDS[1])
    second = wait_until(partial(changed, postgres_server, first))

    assert matches(first, PASSWORDS[0])
    assert matches(second, PASSWORDS[1])


def matches(verifier, password):
    """Tell whether a SCRAM verifier is that of a password."""
    _, rounds, keys = verifier.split("$")
    count, salt = rounds.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
    key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return keys.split(":")[0] == stored


def test_a_volume_is_given_to_the_server_once(render):
    """PostgreSQL refuses a folder that the group may write, as which each mount would make it."""
    for name in ("-postgresql", "-valkey"):
        pod = render().one("StatefulSet", name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
