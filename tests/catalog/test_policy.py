"""The first reason why a line may not be promised, and the units its channel withholds."""

from types import SimpleNamespace
from typing import Any

import pytest

from atp_service.catalog import Channel, Location, Sku
from atp_service.catalog.policy import policy_of

_RECORDS: Any = SimpleNamespace(
    channels={"web": Channel(id="web", safety_stock=2)},
    skus={"LAMP": Sku(sku="LAMP"), "OLD": Sku(sku="OLD", active=False)},
    locations={
        "DC": Location(id="DC"),
        "SHUT": Location(id="SHUT", status="closed"),
        "IDLE": Location(id="IDLE", status="inactive"),
        "TILL": Location(id="TILL", channels=["store"]),
    },
)


@pytest.mark.parametrize(
    ("channel", "sku", "location", "refused"),
    [
        ("web", "LAMP", "DC", None),
        ("", "LAMP", "TILL", None),
        ("web", "NONE", "NOWHERE", "unknown_sku"),
        ("bazaar", "LAMP", "NOWHERE", "unknown_location"),
        ("bazaar", "OLD", "DC", "unknown_channel"),
        ("web", "OLD", "SHUT", "sku"),
        ("web", "LAMP", "SHUT", "closed"),
        ("web", "LAMP", "IDLE", "inactive"),
        ("web", "LAMP", "TILL", "channel"),
    ],
)
def test_the_first_reason_is_given(
    channel: str, sku: str, location: str, refused: str | None
) -> None:
    policy = policy_of(_RECORDS, channel, sku, location, asked=True, new_channels=False)
    assert policy.refused == refused
    assert policy.safety_stock == (2 if channel == "web" else 0)


@pytest.mark.parametrize(
    ("channel", "sku", "refused"),
    [("web", "NONE", "unasked"), ("bazaar", "LAMP", "unasked_channel"), ("web", "OLD", "sku")],
)
def test_while_master_data_is_away_no_name_is_called_unknown(
    channel: str, sku: str, refused: str
) -> None:
    policy = policy_of(_RECORDS, channel, sku, "DC", asked=False, new_channels=False)
    assert policy.refused == refused


def test_a_new_channel_sells_where_channels_are_created_on_first_sight() -> None:
    policy = policy_of(_RECORDS, "bazaar", "LAMP", "DC", asked=True, new_channels=True)
    assert policy == (0, None)
