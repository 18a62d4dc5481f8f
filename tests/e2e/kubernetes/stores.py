"""Stores as a team has them before it installs the chart: users by role, TLS, an authority."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster import IMAGES, command, kubectl

NAMESPACE = "stores"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 999,
    "runAsGroup": 999,
    "fsGroup": 999,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def server(name: str, port: int, container: dict[str, Any], volumes: dict[str, str]) -> list[Any]:
    """Give a pod with the Secrets of `volumes` (path → name), and the Service in front of it."""
    mounts = [{"name": each, "mountPath": path} for path, each in volumes.items()]
    mounts.append({"name": "data", "mountPath": "/var/lib/store"})
    mounts.append({"name": "run", "mountPath": "/var/run/postgresql"})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"store": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED,
            "containers": [
                {
                    "name": name,
                    "ports": [{"containerPort": port}],
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                    "volumeMounts": mounts,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    **container,
                }
            ],
            "volumes": [
                *(
                    {"name": each, "secret": {"secretName": each, "defaultMode": 0o440}}
                    for each in volumes.values()
                ),
                {"name": "data", "emptyDir": {}},
                {"name": "run", "emptyDir": {}},
            ],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"store": name}, "ports": [{"port": port}]},
    }
    return [pod, service]


def apply(objects: list[Any]) -> None:
    kubectl(
        *("apply", "--filename=-"),
        namespace=NAMESPACE,
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )


def make_secret(name: str, *files: Path, **texts: str) -> None:
    given = [f"--from-file={file}" for file in files]
    given += [f"--from-literal={key}={text}" for key, text in texts.items()]
    kubectl("create", "secret", "generic", name, *given, namespace=NAMESPACE)


def start_valkey(folder: Path, roles: list[str]) -> None:
    """Start a Valkey as the page asks for it; `folder` has a password in a file for each role."""
    rules = ["user default off"]
    for role in roles:
        acl = (sys.executable, "-m", "duly.cli", "acl", "show", role)
        rules.append(command(*acl, "--password-file", str(folder / role)).strip())
    file = folder / "users.acl"
    file.write_text("\n".join(rules) + "\n")
    make_secret("valkey-users", file)
    arguments = ["valkey-server", "--dir", "/var/lib/store", "--appendonly", "yes"]
    arguments += ["--maxmemory-policy", "noeviction", "--aclfile", "/users/users.acl"]
    container = {"image": IMAGES["valkey"], "command": arguments}
    apply(server("valkey", 6379, container, {"/users": "valkey-users"}))


def make_certificates(folder: Path, host: str) -> None:
    """Make an authority, ca.crt, and a certificate of this host, tls.crt and tls.key."""
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    new += ("-nodes", "-days", "2")
    ca = (str(folder / "ca.crt"), str(folder / "ca.key"))
    command(*new, "-subj", "/CN=the team's own authority", "-out", ca[0], "-keyout", ca[1])
    command(
        *(*new, "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-CA", ca[0], "-CAkey", ca[1]),
        *("-out", str(folder / "tls.crt"), "-keyout", str(folder / "tls.key")),
    )


def start_postgresql(folder: Path, name: str, password: str) -> None:
    """Start a PostgreSQL that speaks TLS with the certificates in `folder`."""
    make_secret("postgresql-tls", folder / "tls.crt", folder / "tls.key")
    make_secret("postgresql-password", password=password)
    container = {
        "image": IMAGES["postgresql"],
        "args": [
            *("postgres", "-c", "ssl=on", "-c", "ssl_cert_file=/tls/tls.crt"),
            *("-c", "ssl_key_file=/tls/tls.key"),
        ],
        "env": [
            {"name": "PGDATA", "value": "/var/lib/store/data"},
            {"name": "POSTGRES_USER", "value": "duly"},
            {"name": "POSTGRES_DB", "value": "orders"},
            {"name": "POSTGRES_PASSWORD_FILE", "value": "/password/password"},
        ],
    }
    secrets = {"/tls": "postgresql-tls", "/password": "postgresql-password"}
    apply(server(name, 5432, container, secrets))


def wait_until_ready(*pods: str) -> None:
    for pod in pods:
        wait = ("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
        kubectl(*wait, namespace=NAMESPACE, timeout=150)


def ask_postgresql(pod: str, sql: str) -> str:
    psql = ("psql", "--username=duly", "--dbname=orders", "--tuples-only")
    return kubectl("exec", pod, "--", *psql, "--no-align", "--command", sql, namespace=NAMESPACE)


def run_line(line: str, folder: Path) -> str:
    """Run a line as somebody types it into a shell in this folder; say it and what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout
