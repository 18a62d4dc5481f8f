from starlette.requests import Request

from duly_monitor.permissions import (
    CHANGES,
    NOBODY,
    ROLES,
    Identity,
    Permission,
    Role,
    identify,
    identity_of,
    may,
)


def request():
    return Request({"type": "http", "headers": [], "path": "/", "method": "GET"})


def test_each_role_includes_the_one_before():
    assert ROLES[Role.VIEWER] < ROLES[Role.OPERATOR] < ROLES[Role.ADMIN] == frozenset(Permission)


def test_a_viewer_changes_nothing_and_sees_no_audit():
    assert ROLES[Role.VIEWER] == {Permission.VIEW}
    assert not ROLES[Role.VIEWER] & CHANGES


def test_who_is_unknown_may_nothing():
    one = request()

    assert identity_of(one) == NOBODY
    assert not may(one, Permission.VIEW)


def test_who_is_known_may_what_the_role_says():
    one = request()
    identify(one, Identity("ada", "operator", ROLES[Role.OPERATOR]))

    assert may(one, Permission.PAUSE_QUEUES)
    assert not may(one, Permission.REMOVE_QUEUES)
