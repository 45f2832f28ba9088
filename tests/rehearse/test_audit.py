"""The audit catches each lie. What cannot happen: a figure that stays 0 whatever is planted."""

import psycopg
import pytest

from atp_service.ledger import Ledger
from atp_service.rehearse.audit import Audit, differing
from atp_service.rehearse.client_oversell import promised_beyond
from tests.rehearse.forged_history import NAMES, SKU, Sale, call

pytestmark = pytest.mark.usefixtures("ledger")


def counts(found: Audit) -> dict[str, int]:
    """The figures that aren't 0."""
    return {figure.key: figure.count for figure in found.figures if figure.count}


def honest() -> Sale:
    """Five units; one sold, one held, one held by a buyer who never heard of it."""
    sale = Sale()
    sale.receive(5)
    sale.hold(1)
    sale.confirm(1)
    sale.hold(2)
    sale.hold(3, told=False)
    sale.till_sells(1, 2)
    return sale


async def test_an_honest_sale_has_nothing_to_find(database_url: str) -> None:
    found = await honest().audited(database_url)
    assert counts(found) == {}
    assert found.clean
    assert (found.entries, found.promises) == (6, 3)


async def test_a_ledger_that_promised_six_of_five_is_oversold(database_url: str) -> None:
    sale = Sale()
    sale.receive(5)
    for buyer in range(1, 4):
        sale.hold(buyer, 2)
    found = await sale.audited(database_url)
    assert counts(found) == {"oversold": 1, "promised_beyond": 1}
    assert SKU in found.figures[0].examples[0]


async def test_units_oversold_only_for_a_moment_are_oversold(database_url: str) -> None:
    sale = Sale()
    sale.receive(1)
    sale.hold(1, told=False)
    sale.hold(2, told=False)
    sale.hold(2, -1, told=False)
    found = await sale.audited(database_url)
    assert found.count("oversold") == 1


async def test_a_hold_that_only_the_buyer_knows_is_lost(database_url: str) -> None:
    sale = honest()
    sale.hold(9, recorded=False)
    found = await sale.audited(database_url)
    assert counts(found) == {"lost": 1}
    assert "sale-1-9" in found.figures[2].examples[0]


async def test_buyers_can_be_promised_more_than_the_ledger_ever_heard_of(database_url: str) -> None:
    sale = Sale()
    sale.receive(1)
    sale.hold(1)
    sale.hold(2, recorded=False)
    assert counts(await sale.audited(database_url)) == {"promised_beyond": 1, "lost": 1}


async def test_an_order_that_only_the_buyer_knows_is_lost(database_url: str) -> None:
    sale = honest()
    sale.confirm(2, recorded=False)
    assert counts(await sale.audited(database_url)) == {"lost": 1}


async def test_a_till_sale_answered_and_not_recorded_is_lost_and_its_units_are_missed(
    database_url: str,
) -> None:
    sale = honest()
    sale.till_sells(2, 3, recorded=0)
    assert counts(await sale.audited(database_url)) == {"lost": 1, "unaccounted": 3}


async def test_a_till_sale_that_nats_took_and_nobody_applied_is_lost(database_url: str) -> None:
    sale = honest()
    published = call("sale", "till-2", 9.0, 3, 200, NAMES.everyday[0], "published")
    sale.history.calls.append(published)
    assert counts(await sale.audited(database_url)) == {"lost": 1, "unaccounted": 3}


async def test_an_id_held_twice_is_an_effect_too_many(database_url: str) -> None:
    sale = honest()
    sale.hold(2, told=False)
    found = await sale.audited(database_url)
    assert counts(found) == {"doubled": 1}


def test_an_event_applied_twice_is_an_effect_too_many() -> None:
    sale = honest()
    sale.till_sells(2, recorded=2)
    assert counts(sale.audited_unrecorded()) == {"doubled": 1, "unaccounted": 1}


@pytest.mark.parametrize("delta", [0, -2])
async def test_units_that_vanish_are_unaccounted_for(database_url: str, delta: int) -> None:
    sale = honest()
    sale.loses(2, delta=delta)
    assert counts(await sale.audited(database_url)) == {"unaccounted": 2}


@pytest.mark.parametrize(
    ("statement", "units"),
    [
        ("UPDATE levels SET reserved = reserved + 3 WHERE location = 'sale-1-dc'", 3),
        ("UPDATE reservations SET document = '' WHERE reservation_id = 'sale-1-2'", 1),
        ("DELETE FROM movements WHERE location = 'sale-1-store'", 2),
    ],
)
async def test_a_table_that_says_something_else_than_the_entries_is_found(
    database_url: str, superuser_url: str, statement: str, units: int
) -> None:
    sale = honest()
    await sale.record(database_url)
    with psycopg.connect(superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode())
    assert counts(sale.audited_again(database_url)) == {"unaccounted": units}


async def test_a_level_that_redis_has_otherwise_is_found(database_url: str) -> None:
    sale = honest()
    await sale.record(database_url)
    place = (SKU, NAMES.shop)
    told = list(differing({place: (5, 2, 1)}, {place: (5, 1, 1)}))
    assert counts(sale.audited_again(database_url, told)) == {"redis": 1}
    assert list(differing({place: (5, 2, 1)}, {place: (5, 2, 1)})) == []
    assert len(list(differing({place: (5, 2, 1)}, {}))) == 1


async def test_a_cart_that_lapsed_may_be_promised_to_the_next(database_url: str) -> None:
    sale = Sale()
    sale.receive(1)
    sale.history.calls += [call("hold", "sale-1-1", 1.0), call("hold", "sale-1-2", 900.5)]
    # Nothing was recorded of either: that is lost, but nobody was promised too much.
    assert counts(await sale.audited(database_url)) == {"lost": 2}
    sale.history.calls.append(call("hold", "sale-1-3", 900.0))
    assert sale.audited_again(database_url).count("promised_beyond") == 1


def test_a_change_to_the_same_cart_is_a_repeat_and_prolongs_nothing() -> None:
    sale = Sale()
    sale.receive(1)
    sale.history.calls += [
        call("hold", "sale-1-1", 1.0),
        call("change", "sale-1-1", 800.0, status=200),
        call("hold", "sale-1-2", 1000.0),
    ]
    assert promised_beyond(sale.history) == {}
    sale.history.calls[1] = call("change", "sale-1-1", 800.0, 2, 200)
    assert promised_beyond(sale.history) == {SKU: 2}


async def test_a_fact_nobody_answered_counts_if_the_ledger_has_it(
    database_url: str, ledger: Ledger
) -> None:
    sale = honest()
    sale.till_sells(2, 3)
    answered = sale.history.calls.pop()
    unanswered = call("sale", answered.reference, 1.0, 3, 0, NAMES.everyday[0])
    sale.history.calls.append(unanswered)
    sale.history.calls.append(call("sale", "till-3", 1.0, 3, 0, NAMES.everyday[0]))
    assert counts(await sale.audited(database_url)) == {}
    assert await ledger.position(0) is not None
