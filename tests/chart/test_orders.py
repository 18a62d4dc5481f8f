"""Where the check of pending orders finds them: the values `orders`, and what is left out then."""

import pytest
from tests.chart.pods import expanded, variables

SQL = {"orders.source": "sql", "orders.sql.orders": "SELECT 1 AS order_id"}
HTTP = {
    "orders.source": "http",
    "orders.http": {"url": "https://orders.example.com/pending", "existingSecret": "orders"},
    "postgresql.enabled": False,
}
PYTHON = {"orders.source": "python", "orders.python": "shop.orders:source"}


def worker(documents):
    return documents.one("Deployment", "-worker-default")["spec"]["template"]["spec"]


def environment(documents):
    (container,) = worker(documents)["containers"]
    return expanded(container)


def told(documents):
    """Give the variables; of files from Secrets, the Secret and its key."""
    pod = worker(documents)
    return variables(pod, pod["containers"][0])


def migrates(documents):
    return any("-migrate-" in job["metadata"]["name"] for job in documents.of("Job"))


def test_our_own_tables_are_migrated_and_awaited(render):
    documents = render()

    assert migrates(documents)
    assert [it["name"] for it in worker(documents)["initContainers"]] == ["wait-for-schema"]
    assert environment(documents)["DULY_ORDERS__SOURCE"] == "builtin"


def test_nobody_waits_for_a_migration_that_is_switched_off(render):
    documents = render(values={"migrations.enabled": False})

    assert not migrates(documents)
    assert "initContainers" not in worker(documents)
    assert "DULY_DATABASE__URL_FILE" in environment(documents)


@pytest.mark.parametrize("values", [SQL, HTTP, PYTHON])
def test_orders_from_elsewhere_need_no_migration(render, values):
    documents = render(values=values)

    assert not migrates(documents)
    assert "initContainers" not in worker(documents)


def test_statements_arrive_as_they_are(render):
    text = "SELECT '%', \"a\" AS order_id, $$it's$$, $1, $(DULY_APP)\nFROM {{ t }} -- it's $"

    given = environment(render(values={**SQL, "orders.sql": {"orders": text, "items": ""}}))

    assert given["DULY_ORDERS__SQL__ORDERS"] == text
    assert given["DULY_ORDERS__SQL__ITEMS"] == ""
    assert "DULY_DATABASE__URL_FILE" in given


def test_a_service_gets_its_token_from_a_secret(render):
    given = told(render(values=HTTP))

    assert given["DULY_ORDERS__HTTP__URL"] == "https://orders.example.com/pending"
    assert given["DULY_ORDERS__HTTP__TOKEN_FILE"] == ("orders", "token")
    assert "DULY_DATABASE__URL_FILE" not in given


def test_a_replica_is_named_by_a_secret(render):
    values = {
        "orders.replica.existingSecret": "replica",
        "orders.consistent": True,
        "orders.shards": 4,
    }

    given = told(render(values=values))

    assert given["DULY_ORDERS__REPLICA_URL_FILE"] == ("replica", "url")
    assert given["DULY_ORDERS__CONSISTENT"] == "true"
    assert given["DULY_ORDERS__SHARDS"] == "4"


@pytest.mark.parametrize("values", [HTTP, {"orders.replica.existingSecret": "replica"}])
def test_only_workers_read_the_secrets_of_the_orders(render, values):
    for name, pod in render(values=values).pods().items():
        named = "replica-url" in str(pod) or "orders-token" in str(pod)
        assert named is ("-worker-" in name), name


def test_workers_know_which_orders_get_a_line(render):
    def named(**values):
        given = environment(render(values={f"orders.{key}": it for key, it in values.items()}))
        return {name: text for name, text in given.items() if name.startswith("DULY_ORDERS__LOG")}

    assert named() == {"DULY_ORDERS__LOG": "every"}
    assert named(log="changes", logAge="2h") == {
        "DULY_ORDERS__LOG": "changes",
        "DULY_ORDERS__LOG_AGE": "2h",
    }
    assert named(log="sample", logShare=0.25) == {
        "DULY_ORDERS__LOG": "sample",
        "DULY_ORDERS__LOG_SHARE": "0.25",
    }


def test_workers_know_the_period_so_that_statements_end_within_it(render):
    given = environment(render(values={"scheduler.interval": "2s"}))

    assert given["DULY_SCHEDULER__INTERVAL"] == "2s"


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, [5432]),
        (SQL, [5432]),
        (PYTHON, [5432]),
        ({"app.name": "shop.jobs:app", **HTTP}, [5432]),
        (HTTP, [443]),
        ({**HTTP, "orders.http.url": "http://orders.shop.svc:8080/pending"}, [8080]),
        ({**HTTP, "orders.http.url": "http://[fd00::1]/pending"}, [80]),
        ({**HTTP, "networkPolicy.ordersPorts": [8000, 8001]}, [8000, 8001]),
    ],
    ids=str,
)
def test_a_network_policy_lets_workers_reach_the_orders_and_no_other_store(render, values, ports):
    documents = render(values={"networkPolicy.enabled": True, **values})

    (_, _, rule) = documents.one("NetworkPolicy", "-worker")["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == ports


def test_where_the_order_service_is_may_be_said(render):
    there = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    values = {**HTTP, "networkPolicy.enabled": True, "networkPolicy.ordersTo": there}

    (_, _, rule) = render(values=values).one("NetworkPolicy", "-worker")["spec"]["egress"]

    assert rule["to"] == there
