"""Who gets in, by which way, and as what."""

import base64
import hashlib
from contextlib import asynccontextmanager

import pytest
from starlette.routing import Route

from duly_monitor.permissions import CHANGES, ROLES, Permission, Role

TOKEN = "duly-0123456789abcdef"
API = "/monitoring/api/v1"
CALLBACK = "/monitoring/login/callback"
WAYS = ("basic", "token", "proxy", "oidc")
USERS = {
    "vera": {"password": "v-pass", "role": "viewer"},
    "olaf": {"password": "o-pass", "role": "operator"},
    "anna": {"password": "a-pass", "role": "admin"},
}
BASIC = {"access": "basic", "users": USERS}
PROXY = {
    "access": "proxy",
    "proxy": {"networks": ["10.0.0.0/8"]},
    "roles": {"viewer": ["staff"], "admin": ["ops", "root"]},
}


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def token(*scopes):
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return {"ci": {"sha256": digest, "scopes": scopes}}


def guarded(app):
    """Each route with a permission: method, an address, the permission."""
    for route in app.routes:
        if not isinstance(route, Route):
            continue
        cells = route.endpoint.__closure__ or ()
        found = [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, Permission)]
        for permission in found:
            path = route.path
            for name, value in PLACES.items():
                path = path.replace(f"{{{name}}}", value)
            method = "POST" if "POST" in route.methods else "GET"
            yield method, path, permission


PLACES = {
    "name": "default", "queue": "default", "task_id:path": "a1b2c3d4e5f60718", "topic": "queues",
    "entry": "check-pending-orders", "kind": "send_invoice", "server": "worker-low",
}  # fmt: skip


GROUPS = {"viewer": ["staff"], "operator": ["on-call"], "admin": ["ops"]}


@pytest.fixture
def logged_in(connect, oidc, provider):
    """`logged_in(way, role)` gives a client that has a role by one of the ways in."""

    @asynccontextmanager
    async def enter(way, role, **settings):
        user, headers = next(name for name in USERS if USERS[name]["role"] == role), {}
        settings |= {**BASIC, **PROXY, **oidc, "access": way, "roles": GROUPS}
        if way == "basic":
            headers = basic(user, USERS[user]["password"])
        if way == "token":
            settings["tokens"] = token(role.value)
            headers = {"Authorization": f"Bearer {TOKEN}"}
        if way == "proxy":
            headers = {"X-Forwarded-User": user, "X-Forwarded-Groups": ",".join(GROUPS[role])}
        peer = "10.0.0.7" if way == "proxy" else "127.0.0.1"
        async with connect(**settings, headers=headers, peer=peer) as client:
            if way == "oidc":
                provider.claims["groups"] = ["others", *GROUPS[role]]
                there = await client.get("/monitoring/login/start")
                query = provider.consent(there.headers["Location"])
                assert (await client.get(f"{CALLBACK}?{query}")).status_code == 303
            yield client

    return enter


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("way", WAYS)
async def test_every_route_asks_for_its_permission(logged_in, build, inspector, way, role):
    table = list(guarded(build()))
    assert len(table) >= 30

    async with logged_in(way, role) as client:
        for method, path, permission in table:
            if "/live/" in path:
                continue  # it does not end
            calls = inspector.calls
            answer = await client.request(method, path)
            if permission in ROLES[role]:
                assert answer.status_code not in (401, 403), (method, path)
            else:
                assert answer.status_code == 403, (method, path)
                assert permission.value in answer.text
                assert inspector.calls == calls, (method, path)


async def test_without_a_session_no_route_is_open(connect, build, inspector, oidc):
    table = list(guarded(build(**oidc)))
    async with connect(**oidc) as client:
        for method, path, _permission in table:
            assert (await client.request(method, path)).status_code == 401, (method, path)
        assert (await client.post("/monitoring/logout")).status_code == 401

    assert inspector.calls == 0


@pytest.mark.parametrize("way", WAYS)
async def test_read_only_refuses_changes_to_everybody(logged_in, build, way):
    async with logged_in(way, Role.ADMIN, read_only=True) as client:
        for method, path, permission in guarded(build()):
            if "/live/" not in path:
                answer = await client.request(method, path)
                assert (answer.status_code == 403) == (permission in CHANGES), (method, path)


@pytest.mark.parametrize("access", ["basic", "token", "proxy"])
@pytest.mark.parametrize(
    ("scopes", "pause", "show"),
    [(["viewer"], 403, 200), (["operator"], 200, 200), (["pause-queues"], 200, 403)],
)
async def test_a_token_has_its_scopes_and_no_more(connect, access, scopes, pause, show):
    settings = {**BASIC, **PROXY, "access": access, "tokens": token(*scopes)}
    headers = {"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": None}
    async with connect(**settings, headers=headers) as client:
        assert (await client.post(f"{API}/queues/default/pause")).status_code == pause
        assert (await client.get(f"{API}/queues")).status_code == show


@pytest.mark.parametrize(
    ("scopes", "outcome", "status"),
    [
        (("cancel-tasks",), "archive", 200),
        (("cancel-tasks",), "retry", 403),
        (("cancel-tasks",), "delete", 403),
        (("cancel-tasks", "run-tasks"), "retry", 200),
        (("cancel-tasks", "delete-tasks"), "delete", 200),
        (("delete-tasks",), "delete", 403),
    ],
)
async def test_cancelling_takes_what_its_outcome_takes(connect, inspector, scopes, outcome, status):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    bulk = {"operation": "cancel", "q": "state:active", "outcome": outcome}
    api, task_id = "/monitoring/api/v1", "9f2c41d8e0b70"
    async with connect(access="token", tokens=token("view", *scopes), headers=headers) as client:
        body = {"outcome": outcome}
        one = await client.post(f"{api}/tasks/{task_id}/cancel", json=body)
        many = await client.post(f"{api}/bulk", json={**bulk, "dry_run": False})
        own = {**client.headers, "Origin": "http://localhost:8080"}
        page = await client.post(
            f"/monitoring/tasks/default/{task_id}/cancel", data=body, headers=own
        )
        asked = await client.post("/monitoring/bulk", data=bulk, headers=own)

    assert (one.status_code, many.status_code) == (status, status)
    assert (page.status_code == 403, asked.status_code == 403) == ((status == 403,) * 2)


async def test_a_wrong_token_is_refused_recorded_and_slowed_down(connect, inspector):
    async with connect(access="token", tokens=token("admin")) as client:
        statuses = [
            (await client.get(f"{API}/queues", headers={"Authorization": "Bearer x"})).status_code
            for _ in range(7)
        ]

    assert statuses == [401] * 5 + [429] * 2
    assert [record.action for record in inspector.audited] == ["log_in"] * 5
    assert inspector.calls == 0


async def test_tokens_do_not_open_a_closed_monitor(connect):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with connect(access="closed", tokens=token("admin"), headers=headers) as client:
        assert (await client.get(f"{API}/queues")).status_code == 403


async def test_guessing_a_password_is_slowed_down(connect):
    async with connect(**BASIC) as client:
        for _ in range(5):
            assert (await client.get("/monitoring/", headers=basic("anna", "x"))).status_code == 401
        answer = await client.get("/monitoring/", headers=basic("anna", "a-pass"))

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_user_whose_password_is_in_a_file_gets_a_new_one_at_once(connect, tmp_path):
    path = tmp_path / "password"
    path.write_text("first")
    users = {"vera": {"password_file": str(path)}}
    async with connect(access="basic", users=users) as client:
        first, second = basic("vera", "first"), basic("vera", "second")
        assert (await client.get("/monitoring/", headers=first)).status_code == 200
        path.write_text("second")
        assert (await client.get("/monitoring/", headers=second)).status_code == 200
        assert (await client.get("/monitoring/", headers=first)).status_code == 401


async def test_names_of_a_proxy_are_utf_8(connect, inspector):
    settings = {**PROXY, "roles": {"admin": ["Ärzte"]}}
    headers = {"X-Forwarded-User": "zoë".encode(), "X-Forwarded-Groups": "Ärzte".encode()}
    async with connect(peer="10.0.0.9", **settings, headers=headers) as client:
        assert (await client.post("/monitoring/queues/default/pause")).status_code == 303

    assert (inspector.audited[0].user, inspector.audited[0].role) == ("zoë", "admin")


async def test_a_proxy_names_user_and_groups(connect, inspector):
    headers = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "staff, ops"}
    async with connect(peer="10.0.0.9", **PROXY, headers=headers) as client:
        assert (await client.post("/monitoring/queues/default/pause")).status_code == 303

    assert (inspector.audited[0].user, inspector.audited[0].role) == ("ada", "admin")


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("10.0.0.9", {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "staff"}, 200),
        ("10.0.0.9", {"X-Forwarded-User": "ada"}, 403),
        ("10.0.0.9", {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "others"}, 403),
        ("10.0.0.9", {"X-Forwarded-Groups": "ops"}, 401),
        ("192.0.2.1", {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "ops"}, 403),
        ("127.0.0.1", {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "ops"}, 403),
    ],
)
async def test_only_named_proxies_are_believed(connect, inspector, peer, headers, status):
    async with connect(peer=peer, **PROXY, headers=headers) as client:
        assert (await client.get("/monitoring/")).status_code == status


async def test_local_mode_refuses_what_came_through_a_proxy(connect):
    async with connect(headers={"X-Forwarded-For": "203.0.113.1"}) as client:
        assert (await client.get("/monitoring/")).status_code == 403


async def test_local_mode_may_have_a_lesser_role(connect):
    async with connect(role="viewer") as client:
        assert (await client.get("/monitoring/")).status_code == 200
        assert (await client.post("/monitoring/queues/default/pause")).status_code == 403
