"""The retailer is as big as the README says, and everything it sells is somewhere."""

from atp_service.demo.assortment import ARTICLES
from atp_service.demo.places import CHANNELS, FEEDS, LOCATIONS, feed_of, source_of, stores_of


def test_there_are_two_hundred_articles_in_eight_places() -> None:
    assert len({article.sku for article in ARTICLES}) == 200
    assert len({article.name for article in ARTICLES}) == 200
    kinds = sorted(location["kind"] for location in LOCATIONS.values())
    assert kinds == ["3pl", "dc", *["store"] * 6]


def test_every_place_an_article_is_kept_at_has_a_feed_that_speaks_for_it() -> None:
    for article in ARTICLES:
        for location in (source_of(article), *stores_of(article)):
            assert location in FEEDS[feed_of(location)]["locations"]


def test_every_channel_has_a_name() -> None:
    assert all(channel["name"] for channel in CHANNELS.values())
