"""The retailer's master data: 6 stores, a DC, a 3PL; four channels; its feeds.

The documents are bodies of `PUT /v1/locations/{id}` and the like.
"""

from typing import Any

from atp_service.demo.assortment import Article

STORES = tuple(f"store-{number:03}" for number in range(1, 7))
DC = "dc-1"
THIRD_PARTY = "3pl-1"
CHANNELS_ONLINE = ("web", "marketplace", "call-center")


def _ship(cutoff: str) -> dict[str, Any]:
    return {"ship": {"enabled": True, "cutoff": cutoff}}


_PICKUP = {"pickup": {"enabled": True, "lead_minutes": 120}}
_PLACES: tuple[tuple[str, str, str, float, float, dict[str, Any]], ...] = (
    (STORES[0], "store", "House & Garden Bristol", 51.4545, -2.5879, _PICKUP),
    (STORES[1], "store", "House & Garden Leeds", 53.8008, -1.5491, _PICKUP),
    (STORES[2], "store", "House & Garden Norwich", 52.6309, 1.2974, _PICKUP),
    (STORES[3], "store", "House & Garden Sheffield", 53.3811, -1.4701, _PICKUP),
    (STORES[4], "store", "House & Garden Exeter", 50.7184, -3.5339, _PICKUP),
    (STORES[5], "store", "House & Garden Durham", 54.7761, -1.5733, _PICKUP),
    (DC, "dc", "Distribution centre Daventry", 52.2576, -1.1605, _ship("16:00")),
    (THIRD_PARTY, "3pl", "Bulky goods, Doncaster", 53.5228, -1.1285, _ship("12:00")),
)

LOCATIONS: dict[str, dict[str, Any]] = {
    place: {"name": name, "kind": kind, "lat": lat, "lon": lon, "timezone": "Europe/London", **more}
    for place, kind, name, lat, lon, more in _PLACES
}

CHANNELS: dict[str, dict[str, Any]] = {
    "web": {"name": "Web shop", "safety_stock": 1},
    "marketplace": {"name": "Marketplace", "safety_stock": 3},
    "call-center": {"name": "Telephone orders"},
    "store": {"name": "Over the counter"},
}


def _feed(kind: str, location: str, freshness_seconds: int, owner: str) -> dict[str, Any]:
    of = {"freshness_seconds": freshness_seconds, "owner": owner}
    return {"kind": kind, "locations": [location], **of}


FEEDS: dict[str, dict[str, Any]] = {
    **{f"pos/{store}": _feed("pos", store, 120, "stores") for store in STORES},
    f"wms/{DC}": _feed("wms", DC, 60, "fulfilment"),
    f"3pl/{THIRD_PARTY}": _feed("3pl", THIRD_PARTY, 300, "fulfilment"),
    "erp": {"kind": "erp", "freshness_seconds": 900, "owner": "finance"},
}


def feed_of(location: str) -> str:
    """The feed that reports a location's facts."""
    if location == DC:
        return f"wms/{DC}"
    return f"3pl/{THIRD_PARTY}" if location == THIRD_PARTY else f"pos/{location}"


def source_of(article: Article) -> str:
    """The location that receives an article from its supplier."""
    return THIRD_PARTY if article.bulky else DC


def stores_of(article: Article) -> tuple[str, ...]:
    """The stores that carry an article: the slower it sells, the fewer."""
    if article.bulky:
        return ()
    return STORES[: 2 + round(4 * min(1.0, 2 * article.pace))]


def usual_stock(article: Article, location: str) -> int:
    """The units that a location wants of an article; it orders when half of them are gone."""
    return round((150 if location == source_of(article) else 25) * article.pace) + 12
