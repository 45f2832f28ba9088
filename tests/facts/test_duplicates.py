"""An event has its effect once, however often and in whatever company it comes."""

from tests.retailer import STORE, TILL, Retailer, event


async def test_an_event_sent_twice_counts_once(shop: Retailer) -> None:
    sale = event("sale", source=TILL, location=STORE, quantity=2)
    assert await shop.statuses(sale) == ["applied"]
    assert await shop.statuses(sale) == ["duplicate"]
    assert await shop.on_hand(location=STORE) == -2


async def test_an_event_twice_in_one_call_counts_once(shop: Retailer) -> None:
    sale = event("sale", source=TILL, location=STORE, quantity=2)
    assert await shop.statuses(sale, sale) == ["applied", "duplicate"]
    assert await shop.on_hand(location=STORE) == -2


async def test_the_same_id_from_another_feed_is_another_event(shop: Retailer) -> None:
    mine = event("receipt", id="17", quantity=3)
    theirs = event("receipt", id="17", source=TILL, quantity=4)
    assert await shop.statuses(mine, theirs) == ["applied", "applied"]
    assert await shop.on_hand() == 7
