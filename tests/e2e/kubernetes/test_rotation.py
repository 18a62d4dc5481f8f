"""Credentials are rotated as docs/operating.md says, and stores are replaced, all under load."""

import hashlib
import json
import time
import urllib.parse

import pytest
from cluster import (
    MONITOR,
    MONITOR_SECRET,
    RELEASE,
    SERVICES,
    Release,
    kubectl,
    merged,
    say,
    wait_for,
)
from producing import Producer
from watching import Logs, Readiness, outcomes, verdict

pytestmark = pytest.mark.nightly
ROLES = ("producer", "scheduler", "worker", "monitor", "viewer", "keda")
URL = f"http://{RELEASE}-monitor:8080/monitoring"
PASSWORDS = {role: f"rotated-{role}" for role in ROLES}
DATABASE = "rotated p@ss/w:rd"
DATABASE_QUOTED = urllib.parse.quote(DATABASE, safe="")
NEW_KEY = "new-key-of-sessions-" + "1" * 32
ROTATED = {
    "valkey": {"auth": {"passwords": PASSWORDS}},
    "postgresql": {"auth": {"password": DATABASE}},
    "monitor": merged(MONITOR, {"auth": {"password": "rotated"}}),
}
LONGEST_S = 15
"""For how long a pod may be not ready while something is rotated or replaced."""


def change_monitor_secret(**values: str) -> None:
    kubectl("patch", "secret", "e2e-monitor", "--patch", json.dumps({"stringData": values}))


def status(release: Release, user: str, password: str) -> str:
    return release.toolbox("fetch", f"{URL}/", user, password).split()[0]


def cookie(release: Release, user: str, password: str) -> str:
    form = urllib.parse.urlencode({"username": user, "password": password})
    return release.toolbox("log_in", f"{URL}/login", form).strip()


def has_session(release: Release, session: str) -> bool:
    return release.toolbox("fetch_with", f"{URL}/", f"Cookie: {session}").startswith("200")


def files(release: Release) -> dict[str, dict[str, str]]:
    """Give the secrets that each pod has now, by file."""
    found = {}
    for pod in release.pods("app.kubernetes.io/component in (scheduler,worker,monitor)"):
        name = pod["metadata"]["name"]
        lines = release.exec(name, "sh", "-c", "cd /etc/duly/secrets && grep -H '' *").splitlines()
        found[name] = dict(line.split(":", 1) for line in lines)
    return found


def have_rotated(release: Release, keys: str) -> bool:
    """Tell whether every pod has the new secrets, the monitor with these keys of sessions."""
    wanted = {f"-{role}-": {"redis-password": PASSWORDS[role]} for role in SERVICES}
    wanted["-monitor-"] |= {
        "monitor-password": "rotated",
        "monitor-user-vera": "vera-anew",
        "monitor-session-keys": keys,
    }
    return all(
        secrets | expected == secrets
        and DATABASE_QUOTED in secrets.get("database-url", DATABASE_QUOTED)
        for name, secrets in files(release).items()
        for part, expected in wanted.items()
        if part in name
    )


def test_every_credential_is_rotated_under_load(release: Release, logs: Logs, readiness: Readiness):
    logs.follow_all(release)
    rate, before, start = 20, release.uids(), time.monotonic()
    sessions = {"kept": cookie(release, "duly", "e2e")}
    producer = Producer(release, "default", 100000, rate, "rotation")

    release.values = merged(release.values, ROTATED)
    release.helm("upgrade", {})
    change_monitor_secret(vera="vera-anew", keys=f"{NEW_KEY} {MONITOR_SECRET['keys']}")

    assert release.uids() == before
    # Files first: whoever tries passwords that do not hold yet is slowed down.
    keys = f"{NEW_KEY} {MONITOR_SECRET['keys']}"
    took = wait_for("new secrets in every pod", 150, lambda: have_rotated(release, keys))
    say(f"every pod had the new secrets {took:.0f} s after the upgrade")
    for user, old, new in [("duly", "e2e", "rotated"), ("vera", "vera-of-old", "vera-anew")]:
        assert status(release, user, new) == "200"
        assert status(release, user, old) == "401"
    assert has_session(release, sessions["kept"])

    # Those who log in now do so with the new key; the old one goes, and with it its sessions.
    sessions["new"] = cookie(release, "duly", "rotated")
    change_monitor_secret(keys=NEW_KEY)
    wait_for("new key alone", 150, lambda: have_rotated(release, NEW_KEY))
    assert not has_session(release, sessions["kept"])
    assert has_session(release, sessions["new"])

    count = producer.stop(60)
    found = verdict(release, logs, "default", count, "rotation")
    name, seconds = readiness.longest()
    say(f"{count} tasks in {time.monotonic() - start:.0f} s; not ready: {name} {seconds:.1f} s")
    assert found == {"completed": count, "run twice": 0}
    assert seconds < LONGEST_S
    assert release.uids() == before


def test_a_new_token_replaces_the_monitor_and_nothing_else(release: Release):
    def token(text: str) -> dict[str, object]:
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {"sha256": digest, "scopes": ["viewer"]}

    def works(text: str) -> bool:
        answer = release.toolbox(
            "fetch_with", f"{URL}/api/v1/queues", f"Authorization: Bearer {text}"
        )
        return answer.startswith("200")

    release.helm("upgrade", {"monitor": {"tokens": {"robot": token("old")}}})
    before = release.uids()
    assert works("old")

    # Side by side, as everything else: the new one under another name, then the old one goes.
    release.helm("upgrade", {"monitor": {"tokens": {"robot": token("old"), "2": token("new")}}})
    assert works("old")
    assert works("new")
    release.helm("upgrade", {"monitor": {"tokens": {"2": token("new")}}})

    wait_for("end of the old token", 30, lambda: not works("old"))
    assert works("new")
    after = release.uids()
    assert before.pop("monitor") != after.pop("monitor")
    assert before == after


def test_a_replaced_broker_knows_the_new_passwords_only(
    release: Release, logs: Logs, readiness: Readiness
):
    """A drained node: every client logs in anew, and the broker has forgotten the old passwords."""
    logs.follow_all(release)
    count = 1200
    producer = Producer(release, "default", count, 40, "broker")
    wait_for("load", 30, lambda: outcomes(release, "default", 1, "broker") == {"completed": 1})

    away = release.replace(f"{RELEASE}-valkey-0")

    assert producer.finish(180) == count
    found = verdict(release, logs, "default", count, "broker")
    name, seconds = readiness.longest()
    say(f"Valkey away for {away:.0f} s; longest not ready: {name} {seconds:.1f} s")
    assert found == {"completed": count, "run twice": 0}
    assert seconds < LONGEST_S


def test_a_replaced_database_loses_no_task(release: Release, logs: Logs, readiness: Readiness):
    logs.follow_all(release)
    count = 1200
    producer = Producer(release, "default", count, 40, "database")
    wait_for("load", 30, lambda: outcomes(release, "default", 1, "database") == {"completed": 1})

    away = release.replace(f"{RELEASE}-postgresql-0")

    assert producer.finish(180) == count
    found = verdict(release, logs, "default", count, "database")
    name, seconds = readiness.longest()
    say(f"PostgreSQL away for {away:.0f} s; longest not ready: {name} {seconds:.1f} s")
    assert found["run twice"] == 0
    assert found["completed"] + found.get("archived", 0) == count
    assert seconds < LONGEST_S
    # Three attempts within two seconds were not enough for some: the runbook of DulyTasksArchived.
    if found.get("archived"):
        wanted = ("--state", "archived", "--kind", "check_pending_orders")
        say(release.exec("toolbox", "duly", "tasks", "run", *wanted, "--yes"))
    again = {"completed": count}
    wait_for("all", 120, lambda: outcomes(release, "default", count, "database") == again)
