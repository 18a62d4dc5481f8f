"""What is started, and with which configuration."""

import sys
from pathlib import Path

import pytest

from duly.local.plan import UpOptions, make_plan, monitor_host
from duly.runtime.loading import load
from duly.runtime.settings import Settings


@pytest.fixture
def plan(tmp_path):
    """Make a plan from flags and DULY_ variables."""

    def make(variables=None, **flags):
        options = UpOptions(data_dir=tmp_path, **flags)
        settings = options.applied(load(Settings, environment=variables or {}))
        return make_plan(settings, options)

    return make


def _by_name(plan):
    return {service.command.name: service for service in plan.services}


def _words(plan):
    return {name: service.command.argv[2:] for name, service in _by_name(plan).items()}


def _environment(plan, name):
    return _by_name(plan)[name].command.environment


def test_services_are_the_commands_of_kubernetes(plan):
    assert _words(plan()) == {
        "scheduler": ("duly_scheduler",),
        "worker-critical": ("duly_worker", "--queue", "critical", "--concurrency", "6"),
        "worker-default": ("duly_worker", "--queue", "default", "--concurrency", "3"),
        "worker-low": ("duly_worker", "--queue", "low", "--concurrency", "1"),
        "monitor": ("duly_monitor",),
        "demo": ("duly_worker", "seed", "--trickle"),
    }
    assert {s.command.argv[0] for s in plan().services} == {sys.executable}


def test_queue_of_the_configuration_gets_its_own_worker(plan):
    variables = {"DULY_QUEUES__MAIL__CONCURRENCY": "9"}

    assert _words(plan(variables))["worker-mail"][-1] == "9"


def test_everything_is_embedded_by_default(plan, tmp_path):
    made = plan()

    assert made.database_file == tmp_path / "orders.db"
    environment = _environment(made, "worker-low")
    assert environment["DULY_REDIS__URL"] == f"redis://127.0.0.1:{made.valkey_port}/0"
    assert environment["DULY_DATABASE__URL"] == f"sqlite+aiosqlite:///{tmp_path}/orders.db"
    assert [command.name for command in made.preparations] == ["migrate", "seed"]


def test_no_two_processes_share_a_port(plan):
    made = plan(port=0)
    addresses = [service.address for service in made.services if service.address]

    assert len(addresses) == len(set(addresses)) == 5
    assert str(made.valkey_port) not in "".join(addresses)


def test_flags_name_other_servers_and_never_reach_an_argv(plan):
    made = plan(redis_url="redis://:hush@r/0", database_url="postgresql+psycopg://u:hush@d/x")

    assert made.valkey_port is None
    assert made.database_file is None
    for service in made.services:
        assert "hush" not in " ".join(service.command.argv)
        assert "hush" in service.command.environment["DULY_REDIS__URL"]


def test_a_configured_database_is_only_looked_at_unless_a_demo_is_requested(plan):
    other = {"DULY_DATABASE__URL": "postgresql+psycopg://d/x"}
    demo = plan(other, demo=True)

    assert [command.argv[3:] for command in plan(other).preparations] == [("migrate", "--check")]
    assert "demo" not in _by_name(plan(other))
    assert [command.name for command in demo.preparations] == ["migrate", "seed"]
    assert "demo" in _by_name(demo)


def test_orders_from_elsewhere_need_no_database(plan):
    made = plan({"DULY_ORDERS__SOURCE": "http"})

    assert (made.preparations, made.database_file) == ((), None)
    assert "demo" not in _by_name(made)


@pytest.mark.parametrize("flags", [{"demo": False}, {"trickle": False}])
def test_trickle_can_be_switched_off(plan, flags):
    assert "demo" not in _by_name(plan(**flags))


def test_monitor_is_local_and_on_its_configured_port(plan):
    made = plan({"DULY_ASYNC__MONITOR__PORT": "8123", "DULY_MONITOR__PREFIX": "/m"})

    assert made.monitor_url == "http://127.0.0.1:8123/m/"
    environment = _environment(made, "monitor")
    assert environment["DULY_MONITOR__ACCESS"] == "local"
    assert environment["DULY_ASYNC__MONITOR__PORT"] == "8123"


def test_configured_access_to_the_monitor_is_left_alone(plan):
    variables = {
        "DULY_MONITOR__ACCESS": "basic",
        "DULY_MONITOR__PASSWORD": "hush",
        "DULY_MONITOR__HOST": "0.0.0.0",
    }

    made = plan(variables)

    assert "DULY_MONITOR__ACCESS" not in _environment(made, "monitor")
    assert monitor_host(load(Settings, environment=variables)) == "0.0.0.0"
    assert made.monitor_url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("variables", "flags"),
    [({"DULY_ASYNC__MONITOR__ENABLED": "false"}, {}), ({}, {"monitor": False})],
)
def test_monitor_can_be_switched_off(plan, variables, flags):
    made = plan(variables, **flags)

    assert "monitor" not in _by_name(made)
    assert made.monitor_port is None


def test_long_drain_is_shortened_to_what_a_stop_here_may_take(plan):
    assert _environment(plan(), "worker-low")["DULY_WORKER__DRAIN"] == "4.0s"
    short = plan({"DULY_WORKER__DRAIN": "1s"})
    assert _environment(short, "worker-low")["DULY_WORKER__DRAIN"] == "1.0s"


def test_configuration_file_reaches_every_process_as_an_absolute_path(plan):
    made = plan(config=Path("duly.yaml"))

    assert Path(_environment(made, "scheduler")["DULY_CONFIG"]).is_absolute()


@pytest.mark.parametrize("given", [{"flags": {"app": "shop:app"}}, {"app": "shop:app"}])
def test_an_application_of_ones_own_gets_no_orders(plan, given):
    flags = given.get("flags", {})
    made = plan({"DULY_APP": given["app"]} if "app" in given else {}, **flags)

    assert (made.database_file, made.preparations) == (None, ())
    assert "demo" not in _by_name(made)
    assert all(
        service.command.environment.get("DULY_APP") == flags.get("app") for service in made.services
    )
    assert _by_name(made)["scheduler"].note == "the schedules of shop:app"


def test_only_what_runs_the_application_is_started_anew_at_a_change(plan):
    made = plan(app="shop:app", reload=True)

    reloading = {service.command.name for service in made.services if service.command.reloads}
    assert reloading == {"scheduler", "worker-critical", "worker-default", "worker-low"}
