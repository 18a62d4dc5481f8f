"""At the broker each pod is the user of its role, with a password of its own, and nobody else."""

import hashlib
import os
import shutil
import subprocess
from functools import partial
from typing import Any

import pytest
from redis import Redis, exceptions
from tests.chart.pods import variables

from duly.engine.storage.roles import ROLES
from duly.runtime.secretfile import SecretFile
from duly.testing.processes import free_port
from duly.testing.servers import BrokerServer, valkey_program
from duly.testing.waiting import wait_until

SECRET = "shop-duly-valkey"


def broker_variables(pod: dict[str, Any]) -> set[tuple[str, Any]]:
    """Give what the pod's containers know of the broker's users, whatever the container."""
    found = set()
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        told = variables(pod, container)
        if "DULY_REDIS__USERNAME" in told:
            found.add(("user", told["DULY_REDIS__USERNAME"]))
        if "DULY_REDIS__PASSWORD_FILE" in told:
            found.add(("password", told["DULY_REDIS__PASSWORD_FILE"]))
    return found


def as_role(role: str, *, secret: str = SECRET) -> set[tuple[str, Any]]:
    return {("user", f"duly-{role}"), ("password", (secret, role))}


PODS = {
    "Deployment/shop-duly-scheduler": "scheduler",
    "Deployment/shop-duly-worker-critical": "worker",
    "Deployment/shop-duly-worker-default": "worker",
    "Deployment/shop-duly-worker-low": "worker",
    "Deployment/shop-duly-monitor": "monitor",
    "Pod/shop-duly-test": "monitor",
    "Deployment/shop-duly-toolbox": "monitor",
    "Job/shop-duly-queue-removal": "viewer",
}


def test_each_pod_has_the_user_of_its_role_and_no_other(render, everything):
    for name, pod in render(values=everything).pods().items():
        role = PODS.get(name)
        assert broker_variables(pod) == (as_role(role) if role else set()), name


def test_a_monitor_that_only_reads_is_another_user(render):
    pods = render(values={"monitor.role": "viewer"}).pods()

    assert broker_variables(pods["Deployment/shop-duly-monitor"]) == as_role("viewer")
    assert broker_variables(pods["Pod/shop-duly-test"]) == as_role("monitor")


def test_each_role_may_have_a_user_of_an_external_broker(render, external):
    users = {role: {"username": f"duly-{role}"} for role in ("scheduler", "worker", "keda")}
    users["monitor"] = {"username": "eyes", "existingSecret": "mine", "secretKey": "pass"}
    documents = render(
        values={
            **external,
            "externalBroker": {"host": "b", "existingSecret": "broker", "users": users},
            "worker.queues.low.keda": {"enabled": True},
        }
    )

    for name, pod in documents.pods().items():
        role = PODS.get(name)
        if role in {"monitor", "viewer"}:  # The viewer is not listed: the monitor may look too.
            assert broker_variables(pod) == {("user", "eyes"), ("password", ("mine", "pass"))}
        else:
            wanted = as_role(role, secret="broker") if role else set()
            assert broker_variables(pod) == wanted, name
    assert keda(documents) == ("duly-keda", [("password", "broker", "keda")])


def keda(documents: Any) -> tuple[str | None, list[tuple[str, str, str]]]:
    trigger, _ = documents.one("ScaledObject", "-low")["spec"]["triggers"]
    if "authenticationRef" not in trigger:
        assert not documents.of("TriggerAuthentication")
        return trigger["metadata"].get("username"), []
    found = documents.one("TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == found["metadata"]["name"]
    references = found["spec"]["secretTargetRef"]
    rows = [(item["parameter"], item["name"], item["key"]) for item in references]
    return trigger["metadata"].get("username"), rows


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        pytest.param(
            {"host": "b", "username": "duly", "existingSecret": "s"},
            ("duly", [("password", "s", "password")]),
            id="one user for all",
        ),
        pytest.param({"host": "b"}, (None, []), id="no password"),
        pytest.param(
            {
                "host": "b",
                "tls": {"enabled": True, "existingSecret": "t", "clientCertificate": True},
            },
            (None, [("ca", "t", "ca.crt"), ("cert", "t", "tls.crt"), ("key", "t", "tls.key")]),
            id="a client certificate alone",
        ),
        pytest.param(
            {
                "mode": "sentinel",
                "existingSecret": "s",
                "secretKeys": {"sentinelPassword": "sp"},
                "sentinel": {"master": "m", "nodes": ["a:26379"], "username": "guard"},
            },
            (None, [("password", "s", "password"), ("sentinelPassword", "s", "sp")]),
            id="sentinels",
        ),
    ],
)
def test_keda_logs_in_as_the_services_do(render, external, broker, expected):
    documents = render(
        values={
            **external,
            "externalBroker": broker,
            "worker.queues.low.keda": {"enabled": True},
        }
    )

    assert keda(documents) == expected
    if broker.get("mode") == "sentinel":
        trigger, _ = documents.one("ScaledObject", "-low")["spec"]["triggers"]
        assert trigger["metadata"]["sentinelUsername"] == "guard"


def test_keda_reads_lengths_as_a_user_that_can_do_nothing_else(render):
    documents = render(values={"worker.queues.low.keda": {"enabled": True}})

    assert keda(documents) == ("duly-keda", [("password", SECRET, "keda")])


def test_roles_of_the_code_are_those_of_the_chart(render):
    documents = render()

    assert documents.one("Secret", "-valkey")["stringData"].keys() == ROLES.keys()
    (pod,) = (pod for name, pod in documents.pods().items() if name.endswith("-valkey"))
    (volume,) = (item for item in pod["volumes"] if item["name"] == "passwords")
    assert {item["key"] for item in volume["secret"]["items"]} == ROLES.keys()


def test_made_passwords_are_long_and_each_another(render):
    passwords = render().one("Secret", "-valkey")["stringData"].values()

    assert all(len(password) == 32 for password in passwords)
    assert len(set(passwords)) == len(ROLES)


def test_a_changed_password_restarts_nothing_since_files_are_read_again(render):
    fixed = {role: f"{role}-password" for role in ROLES}
    first = {"valkey.auth.passwords": fixed, "monitor.auth.password": "first"}
    second = {
        "valkey.auth.passwords": {role: f"another of {role}" for role in ROLES},
        "monitor.auth.password": "second",
        "postgresql.auth.password": "x y",
    }

    before, after = (
        [item for item in render(values=values) if item["kind"] != "Secret"]
        for values in (first, second)
    )

    assert before == after


PASSWORDS = {role: f"{role} \\n\"'$x ü" for role in ROLES}


@pytest.fixture
def start(render, tmp_path):
    """`start(passwords, SERVER…)`: what the pod runs, on files that it mounts."""
    data = render().one("ConfigMap", "-valkey")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)

    def run(passwords: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / "passwords"
        folder.mkdir(exist_ok=True)
        for role, password in passwords.items():
            (folder / role).write_text(password)
        command = ["sh", tmp_path / "start.sh", tmp_path / "duly.acl", folder]
        command += [tmp_path / "users.acl", "echo", "started"]
        # Files, since whoever follows the passwords ends a moment after the server has.
        with (tmp_path / "out").open("w+") as out, (tmp_path / "error").open("w+") as error:
            done = subprocess.run(
                command,
                stdout=out,
                stderr=error,
                check=False,
                env={**os.environ, "DULY_EVERY_SECONDS": "0.1"},
            )
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), error.read())

    run.users = tmp_path / "users.acl"
    return run


def test_the_users_of_the_file_are_those_of_the_code(start):
    done = start(PASSWORDS)

    assert done.stdout == f"started --aclfile {start.users}\n"
    lines = start.users.read_text().splitlines()
    (reloader,) = (line for line in lines if "duly-reloader" in line)
    assert reloader.endswith(" resetkeys resetchannels -@all +acl|load +ping")
    lines.remove(reloader)
    assert lines == [
        *(
            role.rule(
                user=f"duly-{name}",
                password="#" + hashlib.sha256(PASSWORDS[name].encode()).hexdigest(),
            )
            for name, role in ROLES.items()
        ),
        "user default off ~* &* +@all",
    ]
    assert start.users.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("passwords", [{}, {**PASSWORDS, "viewer": ""}], ids=["none", "empty"])
def test_a_missing_password_starts_no_server(start, passwords):
    done = start(passwords)

    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "the Secret has no password under the key" in done.stderr


def log_in(server: BrokerServer, user: str, password: str) -> Any:
    with Redis(host="127.0.0.1", port=server.port, username=user, password=password) as client:
        return client.ping()


class WithUsers(BrokerServer):
    """A server whose user `default` may be off."""

    def ready(self) -> bool:
        try:
            return bool(log_in(self, "duly-keda", PASSWORDS["keda"]))
        except (exceptions.ConnectionError, exceptions.BusyLoadingError) as error:
            if isinstance(error, exceptions.AuthenticationError):
                raise
            return False


@pytest.mark.parametrize("default", [False, True], ids=["off", "kept"])
def test_a_real_valkey_takes_them(start, tmp_path, default):
    start({**PASSWORDS, **({"password": "from before"} if default else {})})
    server = WithUsers.valkey(tmp_path / "server")
    server.arguments = ("--aclfile", str(start.users))

    with server:
        for role, password in PASSWORDS.items():
            assert log_in(server, f"duly-{role}", password)
        for user, password in (("default", ""), ("default", "x"), ("duly-worker", "x")):
            with pytest.raises(exceptions.AuthenticationError):
                log_in(server, user, password)
        with (
            Redis(host="127.0.0.1", port=server.port) as nobody,
            pytest.raises(exceptions.AuthenticationError),
        ):
            nobody.ping()
        if default:
            with Redis(host="127.0.0.1", port=server.port, password="from before") as client:
                assert client.hset("duly:x", "a", "b") == 1
        else:
            with pytest.raises(exceptions.AuthenticationError):
                log_in(server, "default", "from before")


@pytest.mark.parametrize("program", ["valkey", "redis"])
@pytest.mark.parametrize("default", [False, True], ids=["off", "kept"])
def test_a_restart_keeps_what_scripts_wrote(start, tmp_path, program, default):
    # Redis 7.0 reads its file as the user default, and skips each transaction that it may not do.
    start({**PASSWORDS, **({"password": "from before"} if default else {})})
    server = getattr(WithUsers, program)(tmp_path / "server", durable=True)
    server.arguments = ("--aclfile", str(start.users))
    write = (
        "for i = 1, 2 do redis.call('HSET', KEYS[1], i, i) redis.call('EXPIRE', KEYS[1], 99) end"
    )

    def worker() -> Redis:
        password = PASSWORDS["worker"]
        return Redis(port=server.port, username="duly-worker", password=password)

    with server:
        with worker() as client:
            client.eval(write, 1, "duly:{a}:b")
        server.kill9()
        server.start()
        with worker() as client:
            assert client.hget("duly:{a}:b", "1") == b"1"


@pytest.fixture
def follow(render, tmp_path):
    """`follow()`: the server as the pod starts it, on files that change; its port."""
    for name, text in render().one("ConfigMap", "-valkey")["data"].items():
        (tmp_path / name).write_text(text)
    folder = tmp_path / "passwords"
    folder.mkdir()
    cli = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if cli is None:
        pytest.skip("no redis-cli here: it is in Debian's package redis-tools")
    for role, password in PASSWORDS.items():
        (folder / role).write_text(password)
    port = free_port()
    command = ["sh", tmp_path / "start.sh", tmp_path / "duly.acl", folder, tmp_path / "users.acl"]
    command += [valkey_program(), "--port", str(port), "--dir", tmp_path, "--save", ""]
    environment = {"DULY_EVERY_SECONDS": "0.1", "DULY_CLI": f"{cli} -p {port}"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **environment}
        )
    yield folder, port
    process.terminate()
    process.wait()


def logs_in(port: int, user: str, password: str) -> bool:
    try:
        with Redis(host="127.0.0.1", port=port, username=user, password=password) as client:
            return bool(client.ping())
    except exceptions.AuthenticationError:
        return False
    except exceptions.ConnectionError:
        return False


def test_a_new_password_is_loaded_without_a_restart_and_the_old_one_holds(follow):
    folder, port = follow
    wait_until(lambda: logs_in(port, "duly-worker", PASSWORDS["worker"]))

    for word in ("another one", "a third one"):
        (folder / "worker.new").write_text(word)
        (folder / "worker.new").rename(folder / "worker")
        wait_until(partial(logs_in, port, "duly-worker", word))

    assert logs_in(port, "duly-worker", PASSWORDS["worker"])
    assert not logs_in(port, "duly-worker", "none of these")
    assert logs_in(port, "duly-monitor", PASSWORDS["monitor"])


BREAKS = pytest.mark.parametrize("line_break", ["\n", "\r\n", "\n\n"], ids=repr)


@BREAKS
def test_a_line_break_at_the_end_of_a_password_locks_nobody_out(follow, render, line_break):
    folder, port = follow
    for role in ("worker", "keda"):
        (folder / "new").write_bytes(f"another of {role}{line_break}".encode())
        (folder / "new").rename(folder / role)
    as_services = SecretFile("redis.password_file", str(folder / "worker")).read()
    as_keda = (folder / "keda").read_bytes().decode()

    wait_until(lambda: logs_in(port, "duly-worker", as_services))
    wait_until(lambda: logs_in(port, "duly-keda", as_keda))

    (container,) = render().one("StatefulSet", "-valkey")["spec"]["template"]["spec"]["containers"]
    *shell, command = container["readinessProbe"]["exec"]["command"]
    command = command.replace("/etc/duly/passwords", str(folder))
    cli = shutil.which("valkey-cli") or shutil.which("redis-cli")
    asked = subprocess.run([*shell, command.replace("valkey-cli", f"{cli} -p {port}")], check=False)
    assert asked.returncode == 0


def test_a_line_break_alone_is_no_password(start):
    done = start({**PASSWORDS, "viewer": "\n"})

    assert "started" not in done.stdout
    assert "the Secret has no password under the key viewer" in done.stderr
