"""`atp snapshot` as people run it: an ERP's stock list, compared as of when it was taken."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.instance import ROOT, Instance
from tests.replay.replay_command import summary_of

EXAMPLE = ROOT / "examples" / "erp-snapshot.csv"
MAP = EXAMPLE.with_suffix(".toml")
NOW = datetime.now(UTC)
TAKEN_AT = NOW - timedelta(hours=2)


def snapshot(
    instance: Instance, file: Path, at: datetime = TAKEN_AT, *, code: int = 0
) -> dict[str, Any]:
    words = ("snapshot", str(file), "--map", str(MAP), "--at", at.isoformat())
    return summary_of(instance, *words, code=code)


@pytest.fixture
def shop(instance: Instance) -> Instance:
    """A warehouse and a store as the example's ERP knows them, its feed corrects what differs."""
    instance.start_serving()
    instance.start("worker")
    for path, body in {
        "/v1/locations/DC-1": {"kind": "dc"},
        "/v1/locations/STORE-42": {},
        **{f"/v1/skus/SKU-{n}": {"units": {"CAS": 12}} for n in range(1, 6)},
        "/v1/feeds/erp": {
            "kind": "erp",
            "snapshot": "correct",
            "snapshot_tolerance": 1,
            "location_map": {"1000": "DC-1", "1200": "STORE-42"},
        },
    }.items():
        put = instance.http.put(path, json=body)
        assert put.status_code == 200, put.text
    return instance


def tell(shop: Instance, kind: str, at: datetime, location: str, **units: int) -> None:
    """Events of a WMS, one a SKU."""
    events = [
        {
            "specversion": "1.0",
            "id": f"{kind}/{location}/{sku}/{at.isoformat()}",
            "source": "wms/all",
            "type": f"atp.stock.{kind}.v1",
            "time": at.isoformat(),
            "data": {"sku": sku.replace("_", "-"), "location": location, "quantity": quantity},
        }
        for sku, quantity in units.items()
    ]
    answer = shop.http.post("/v1/stock-events", json=events)
    assert {result["status"] for result in answer.json()["results"]} == {"applied"}


def on_hand(shop: Instance, location: str) -> dict[str, int]:
    return dict(shop.recorded(f"SELECT sku, on_hand FROM levels WHERE location = '{location}'"))


def test_an_erp_s_list_is_compared_with_what_we_had_when_it_was_taken(
    shop: Instance, tmp_path: Path
) -> None:
    before, after = TAKEN_AT - timedelta(hours=1), TAKEN_AT + timedelta(hours=1)
    tell(shop, "receipt", before, "DC-1", SKU_1=40, SKU_2=15, SKU_3=23, SKU_4=9)
    tell(shop, "receipt", before, "STORE-42", SKU_1=2, SKU_2=1)
    tell(shop, "sale", after, "DC-1", SKU_1=5, SKU_2=1)
    tell(shop, "receipt", after, "DC-1", SKU_5=7)  # was not there yet

    summary = snapshot(shop, EXAMPLE)

    assert (summary["rows"], summary["events"], summary["published"]) == (5, {"snapshot": 5}, 5)
    assert (summary["applied"], summary["exceptions"], summary["unreadable"]) == (5, 0, 0)
    assert (summary["closed"], summary["left_out"]) == (["1000", "1200"], 1)
    assert summary["comparison"] == {
        "lines": 6,
        "levels": 6,
        "outdated": 0,
        "within": 3,  # one of them beside by one
        "corrected": 3,
        "for_review": 0,
        "reported": 0,
        "units_up": 4,
        "units_down": 3 + 9,
    }
    assert [(found["sku"], found["difference"]) for found in summary["largest"]] == [
        ("SKU-4", -9),
        ("SKU-1", 4),
        ("SKU-2", -3),
    ]
    dc = {"SKU-1": 35, "SKU-2": 11, "SKU-3": 23, "SKU-4": 0, "SKU-5": 7}
    assert on_hand(shop, "DC-1") == dc
    assert on_hand(shop, "STORE-42") == {"SKU-1": 6, "SKU-2": 1}

    # The same list of the same time again, as after a Ctrl-C.
    again = snapshot(shop, EXAMPLE)
    assert (again["applied"], again["duplicates"]) == (0, 5)
    assert {**again, "applied": 5, "duplicates": 0, "seconds": 0, "events_per_second": 0} == {
        **summary,
        "seconds": 0,
        "events_per_second": 0,
    }
    assert on_hand(shop, "DC-1") == dc

    # The same list of another time is another snapshot: by then five were sold, and seven came.
    later = snapshot(shop, EXAMPLE, after + timedelta(minutes=1))
    assert (later["applied"], later["closed"], later["left_out"]) == (5, ["1000", "1200"], 1)
    assert on_hand(shop, "DC-1") == {"SKU-1": 40, "SKU-2": 11, "SKU-3": 23, "SKU-4": 0, "SKU-5": 0}

    # A row that can't be read might be the one that mentions what would be told to be 0.
    odd = tmp_path / "odd.csv"
    odd.write_text("WERKS;MATNR;LABST;MEINS\n1000;SKU-1;40;EA\n1000;SKU-2;eleven;EA\n")
    partly = snapshot(shop, odd, after + timedelta(minutes=2), code=1)
    assert (partly["unreadable_rows"], partly["closed"]) == ([2], [])
    assert partly["unclosed"] == {"1000": "there are rows that can't be read"}
    assert on_hand(shop, "DC-1")["SKU-2"] == 11

    # In a unit that nobody knows: an exception, and the level is mentioned all the same.
    shop.http.put("/v1/feeds/erp", json={"kind": "erp", "location_map": {"1000": "DC-1"}})
    odd.write_text("WERKS;MATNR;LABST;MEINS\n1000;SKU-1;40;PAL\n")
    strange = snapshot(shop, odd, after + timedelta(minutes=3))
    assert (strange["exceptions"], strange["closed"]) == (1, ["1000"])
    assert (strange["left_out"], strange["comparison"]["for_review"]) == (2, 2)
    listed = shop.http.get("/v1/exceptions", params={"kind": "snapshot-difference"}).json()
    found = {(row["sku"], row["units"], row["owner"]) for row in listed["items"]}
    assert found == {("SKU-2", -11, "finance"), ("SKU-3", -23, "finance")}
