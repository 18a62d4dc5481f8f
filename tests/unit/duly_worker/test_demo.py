from random import Random

from duly_worker.demo import PRODUCTS, USERNAMES, draft, email


def test_names_are_unique():
    assert len(set(USERNAMES)) == len(USERNAMES) == 30
    assert len({name for name, _ in PRODUCTS}) == len(PRODUCTS) == 20


def test_names_exercise_the_quoting_of_the_log():
    names = "".join(name for name, _ in PRODUCTS)

    assert {" ", '"', "'"} <= set(names)


def test_demo_addresses_belong_to_nobody():
    assert {email(name).rpartition("@")[2] for name in USERNAMES} == {"example.com"}


def test_an_order_has_one_to_four_different_products():
    dice = Random(1)
    drafts = [draft(dice) for _ in range(200)]

    assert {len(order.lines) for order in drafts} == {1, 2, 3, 4}
    assert all(len(dict(order.lines)) == len(order.lines) for order in drafts)
    assert all(quantity > 0 for order in drafts for _, quantity in order.lines)


def test_the_same_dice_give_the_same_orders():
    assert draft(Random(7)) == draft(Random(7))
