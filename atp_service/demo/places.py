"""The retailer's master data: 6 stores, a DC, a 3PL; four channels; its feeds.

The documents are bodies of `PUT /v1/locations/{id}` and the like.
"""

from typing import Any

from atp_service.demo.assortment import Article

STORES = tuple(f"store-{number:03}" for number in range(1, 7))
DC = "dc-1"
THIRD_PARTY = "3pl-1"
CHANNELS_ONLINE = ("web", "marketplace", "call-center")

_TOWNS = (
    ("Bristol", 51.4545, -2.5879),
    ("Leeds", 53.8008, -1.5491),
    ("Norwich", 52.6309, 1.2974),
    ("Sheffield", 53.3811, -1.4701),
    ("Exeter", 50.7184, -3.5339),
    ("Durham", 54.7761, -1.5733),
)

LOCATIONS: dict[str, dict[str, Any]] = {
    **{
        store: {
            "name": f"House & Garden {town}",
            "kind": "store",
            "lat": lat,
            "lon": lon,
            "timezone": "Europe/London",
            "pickup": {"enabled": True, "lead_minutes": 120},
        }
        for store, (town, lat, lon) in zip(STORES, _TOWNS, strict=True)
    },
    DC: {
        "name": "Distribution centre Daventry",
        "kind": "dc",
        "lat": 52.2576,
        "lon": -1.1605,
        "timezone": "Europe/London",
        "ship": {"enabled": True, "cutoff": "16:00"},
    },
    THIRD_PARTY: {
        "name": "Bulky goods, Doncaster",
        "kind": "3pl",
        "lat": 53.5228,
        "lon": -1.1285,
        "timezone": "Europe/London",
        "ship": {"enabled": True, "cutoff": "12:00"},
    },
}

CHANNELS: dict[str, dict[str, Any]] = {
    "web": {"name": "Web shop", "safety_stock": 1},
    "marketplace": {"name": "Marketplace", "safety_stock": 3},
    "call-center": {"name": "Telephone orders"},
    "store": {"name": "Over the counter"},
}

FEEDS: dict[str, dict[str, Any]] = {
    **{
        f"pos/{store}": {
            "kind": "pos",
            "locations": [store],
            "freshness_seconds": 120,
            "owner": "stores",
        }
        for store in STORES
    },
    f"wms/{DC}": {
        "kind": "wms",
        "locations": [DC],
        "freshness_seconds": 60,
        "owner": "fulfilment",
    },
    f"3pl/{THIRD_PARTY}": {
        "kind": "3pl",
        "locations": [THIRD_PARTY],
        "freshness_seconds": 300,
        "owner": "fulfilment",
    },
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
