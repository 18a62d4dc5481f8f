"""The catalogue, the handlers and the timetable agree."""

import pkgutil

import duly.jobs
from duly.job import Job
from duly.jobs import CATALOGUE


def every_job():
    for module in pkgutil.walk_packages(duly.jobs.__path__, "duly.jobs."):
        __import__(module.name)
    found, todo = set(), [Job]
    while todo:
        for subclass in todo.pop().__subclasses__():
            todo.append(subclass)
            if subclass.__module__.startswith("duly.jobs"):
                found.add(subclass)
    return found


def test_every_job_is_in_the_catalogue_under_its_kind():
    assert {job.kind: job for job in every_job()} == CATALOGUE
