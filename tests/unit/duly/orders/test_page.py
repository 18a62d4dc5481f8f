"""Items stay with their orders, whatever comes in between."""

from decimal import Decimal

import pytest

from duly.orders.page import Page, items_of_orders

ORDERS = [("B1", "ann", "ann@example.com"), ("a1", "bob", "bob@example.com")]


def test_items_go_by_the_id_of_their_order_and_keep_their_sequence():
    rows = [
        ("a1", "Tea", 1, "1.5"),
        ("B1", "Pot", 2, "2"),
        ("gone", "Cup", 3, "no price"),
        ("a1", "Jug", 4, "3"),
    ]

    assert items_of_orders(ORDERS, rows, Decimal) == [
        [("Pot", 2, Decimal(2))],
        [("Tea", 1, Decimal("1.5")), ("Jug", 4, Decimal(3))],
    ]


def test_an_order_without_items_has_an_empty_place():
    assert items_of_orders(ORDERS, [], Decimal) == [[], []]


def test_items_that_nobody_could_assign_are_refused():
    with pytest.raises(ValueError, match="a page of 2 orders has the items of 1: give a sequence"):
        Page(ORDERS, items=[[("Tea", 1, Decimal(1))]])
