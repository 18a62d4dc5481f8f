"""Which orders get a line, on pages that are made by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from duly.errors import ConfigError
from duly.orders.page import Page
from duly.orders.policies import Changes, Every, Sample, Span, policy_of
from duly.runtime.order_settings import OrdersSettings

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
TICK = timedelta(seconds=5)
DAY = timedelta(days=1)


def page(*times, first=1):
    orders = [(number, "ann", "ann@example.com") for number, _ in enumerate(times, first)]
    return Page(orders, times=times)


def ids(page):
    return [order_id for order_id, _, _ in page.orders]


def swept(policy, found, at, *, written=True):
    """Return the ids that a whole sweep of one page logs."""
    span = policy.span(at)
    chosen = policy.chosen(found, span)
    if written:
        policy.written(chosen, span)
        policy.swept(span)
    return ids(chosen)


def ago(**given):
    return NOON - timedelta(**given)


def test_every_order_is_the_page_itself():
    found, policy = page((NOON, NOON)), Every()

    assert policy.chosen(found, policy.span(NOON)) is found


def test_a_sample_is_the_same_in_every_process_and_grows_with_its_share():
    found = Page([(number, "ann", "a@example.com") for number in range(20_000)])

    tenth, half, all_of_them = (
        ids(Sample(share).chosen(found, Span(begun=NOON))) for share in (0.1, 0.5, 1.0)
    )

    assert tenth[:5] == [7, 24, 30, 41, 46]
    assert 1_800 < len(tenth) < 2_200
    assert 9_600 < len(half) < 10_400
    assert set(tenth) <= set(half)
    assert all_of_them == ids(found)


@pytest.mark.parametrize("order_id", ["A-1", UUID(int=7), Decimal("1.5"), b"\0", "\udc80", NOON])
def test_ids_of_any_type_have_their_place(order_id):
    found = Page([(order_id, "ann", "a@example.com")])

    assert ids(Sample(1.0).chosen(found, Span(begun=NOON))) == [order_id]


def test_items_follow_their_orders():
    items = [[("Tea", 1, Decimal(1))], [], [("Pot", 2, Decimal(2)), ("Cup", 3, Decimal(3))]]
    orders = page((ago(days=9), ago(hours=2)), (ago(days=9), NOON), (ago(days=9), NOON)).orders
    times = [(ago(days=9), ago(hours=2)), (ago(days=9), NOON), (ago(days=9), NOON)]
    found = Page(orders, items=items, times=times)

    chosen = Changes(timedelta(days=99)).chosen(found, Span(begun=NOON, since=ago(hours=1)))

    assert ids(chosen) == [2, 3]
    assert chosen.items == items[1:]
    assert chosen.times == times[1:]


def test_the_first_sweep_logs_everything_and_the_next_what_is_new_or_changed():
    policy = Changes(timedelta(days=99))
    old = (ago(days=9), ago(days=8))

    assert swept(policy, page(old, old), NOON) == [1, 2]
    assert swept(policy, page(old, old), NOON + TICK) == []
    assert swept(policy, page(old, (old[0], NOON)), NOON + 2 * TICK) == [2]
    new = NOON + 2 * TICK
    assert swept(policy, page(old, (old[0], NOON), (new, None)), NOON + 3 * TICK) == [3]
    assert swept(policy, page(old, (old[0], NOON), (new, None)), NOON + 4 * TICK) == []


def test_an_order_that_changes_within_a_tick_is_logged_again():
    policy = Changes(DAY)
    swept(policy, page((NOON, NOON)), NOON)

    assert swept(policy, page((NOON, NOON + TICK)), NOON + TICK) == [1]
    assert swept(policy, page((NOON, NOON + TICK)), NOON + 2 * TICK) == []


def test_an_order_is_logged_once_more_when_it_has_grown_old():
    policy = Changes(DAY)
    found = page((ago(days=1) + TICK, None))

    assert swept(policy, found, NOON) == [1]
    assert swept(policy, found, NOON + TICK - timedelta(milliseconds=1)) == []
    assert swept(policy, found, NOON + 2 * TICK) == [1]
    assert swept(policy, found, NOON + 3 * TICK) == []
    assert swept(policy, found, NOON + timedelta(hours=1)) == []


def test_an_order_that_becomes_visible_late_is_logged_all_the_same():
    policy = Changes(DAY)
    seen = (ago(hours=1), None)
    for tick in range(10):
        swept(policy, page(seen), NOON + tick * TICK)

    late = NOON + timedelta(seconds=1)
    found = page(seen, (late, late))
    assert swept(policy, found, NOON + 10 * TICK) == [2]
    for tick in range(11, 40):
        assert swept(policy, found, NOON + tick * TICK) == []


def test_what_was_not_written_is_logged_by_the_next_sweep():
    policy = Changes(DAY)
    seen = page((ago(hours=1), None))
    swept(policy, seen, NOON)
    more = page((ago(hours=1), None), (NOON + TICK, None))
    later = NOON + timedelta(minutes=10)

    assert swept(policy, more, later, written=False) == [2]
    assert swept(policy, more, later + TICK) == [2]
    assert swept(policy, more, later + 2 * TICK) == []


def test_what_a_process_remembers_is_bounded_and_forgetting_repeats():
    policy = Changes(DAY, most_kept=2)
    found = page((NOON, NOON), (NOON, NOON), (NOON, NOON))
    swept(policy, found, NOON)

    assert swept(policy, found, NOON + TICK) == [1]


def test_each_of_two_processes_logs_a_change_once():
    one, other = Changes(DAY), Changes(DAY)
    found = page((ago(hours=1), NOON + TICK))
    for policy in (one, other):
        swept(policy, page((ago(hours=1), None)), NOON)

    logged = [swept(it, found, NOON + n * TICK) for n, it in enumerate((one, other) * 3, 2)]

    assert logged == [[1], [1], [], [], [], []]


@pytest.mark.parametrize(
    "found", [Page([(1, "ann", "a@example.com")]), page((None, None)), page((None, NOON))]
)
def test_a_source_without_times_is_a_wrong_setting(found):
    policy = Changes(DAY)

    with pytest.raises(ConfigError, match=r"^orders\.log: .*created_at and updated_at"):
        policy.chosen(found, policy.span(NOON))


def test_the_settings_name_the_policy():
    assert type(policy_of(OrdersSettings())) is Every
    assert isinstance(policy_of(OrdersSettings(log="changes")), Changes)
    assert isinstance(policy_of(OrdersSettings(log="sample")), Sample)
