"""The payloads of our own jobs: workers of two releases take each other's tasks in a rollout."""

import pkgutil
from importlib import import_module

import pytest

import duly.jobs
from duly.job import Job
from duly.payload import encode, form_of


def own_jobs():
    """Return every class of jobs that this product has itself."""
    modules = [
        import_module(f"{duly.jobs.__name__}.{found.name}")
        for found in pkgutil.iter_modules(duly.jobs.__path__)
    ]
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Job) and each.__module__ == module.__name__
    ]


NEEDED = {
    "check_pending_orders": {},
    "check_orders_shard": {"run_id": "r"},
    "sum_up_pending_orders": {"run_id": "r", "shards": 2, "begun_ms": 1},
}
"""Kind → the least that its payload has."""
FIRST = {
    "check_pending_orders": set(),
    "check_orders_shard": {"run_id", "after", "until"},
    "sum_up_pending_orders": {"run_id", "shards", "begun_ms"},
}
"""Kind → the fields of the first release, whose workers refuse any other one."""
each_job = pytest.mark.parametrize("job", own_jobs(), ids=lambda job: job.kind)


def test_each_kind_is_here():
    assert {job.kind for job in own_jobs()} == NEEDED.keys() == FIRST.keys()


@each_job
@pytest.mark.parametrize("value", [None, 1, "x", [1], {"x": 1}], ids=repr)
def test_a_field_of_a_later_release_is_passed_over(job, value):
    payload = {**NEEDED[job.kind], "field_of_a_later_release": value}

    assert form_of(job).decode(payload) == job(**NEEDED[job.kind])


@each_job
def test_a_field_that_holds_nothing_is_left_out_for_an_earlier_release(job):
    assert encode(job(**NEEDED[job.kind])).keys() <= FIRST[job.kind]
