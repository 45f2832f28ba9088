"""A row becomes the event that the mapping says, or is counted as what it is: never lost."""

import gzip
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from atp_service.adapters.mapping.config import File, Mapping, MappingError, load_mapping
from atp_service.adapters.mapping.csv_file import FileError, Rows
from atp_service.adapters.mapping.rows import Event, RowError, RowReader
from atp_service.catalog import Feed
from atp_service.replay.snapshot_parts import SnapshotParts

EXAMPLE = Path(__file__).parents[2] / "examples" / "online-retail.toml"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@pytest.fixture(scope="module")
def online_retail() -> Mapping:
    return load_mapping(EXAMPLE)


def only_event(mapping: Mapping, row: str) -> tuple[str, Event] | None:
    return RowReader(mapping, HEADER.split(","), "0123456789ab")(1, row.split(","))


def test_a_plain_line_is_a_sale(online_retail: Mapping) -> None:
    line = "536365,85123a ,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
    assert only_event(online_retail, line) == (
        "sale",
        Event(
            id="0123456789ab:1",
            source="pos/online-retail",
            type="atp.stock.sale.v1",
            time="2010-12-01T08:26:00.000Z",
            data={"sku": "85123A", "location": "UK-DC", "quantity": 6},
        ),
    )


def test_a_cancelled_invoice_brings_its_units_back(online_retail: Mapping) -> None:
    line = "C536379,22960,JAM SET,-12,2010-12-01 09:41:00,4.25,14527.0,United Kingdom"
    kind, event = only_event(online_retail, line) or pytest.fail("ignored")
    assert kind == "return"
    assert event.data == {
        "sku": "22960",
        "location": "UK-DC",
        "quantity": 12,
        "disposition": "restock",
    }


@pytest.mark.parametrize(
    ("description", "reason"),
    [("", None), ("  ", None), ("thrown away ", "thrown away"), ("façonné £5", "façonné £5")],
)
def test_a_negative_line_that_is_no_cancellation_is_an_adjustment(
    online_retail: Mapping, description: str, reason: str | None
) -> None:
    line = f"536589,21777,{description},-10,2010-12-01 16:50:00,0.0,,United Kingdom"
    kind, event = only_event(online_retail, line) or pytest.fail("ignored")
    assert kind == "adjustment"
    assert event.data == {"sku": "21777", "location": "UK-DC", "quantity": -10, "reason": reason}


@pytest.mark.parametrize("code", ["POST", "m", "Bank Charges", "gift_0001_20", " D "])
def test_lines_that_are_not_about_goods_are_ignored_in_any_case(
    online_retail: Mapping, code: str
) -> None:
    line = f"536370,{code},POSTAGE,not read,not read either,18.0,12583.0,France"
    assert only_event(online_retail, line) is None


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2011-01-18 10:01:00", "2011-01-18T10:01:00.000Z"),
        ("2011-07-04 10:01:00", "2011-07-04T09:01:00.000Z"),
        ("2011-03-27 00:59:00", "2011-03-27T00:59:00.000Z"),
        ("2011-03-27 02:00:00", "2011-03-27T01:00:00.000Z"),
        ("2011-10-30 01:30:00", "2011-10-30T00:30:00.000Z"),
        ("2011-10-30 02:00:00", "2011-10-30T02:00:00.000Z"),
    ],
)
def test_times_follow_the_shops_clock_through_summer_time(
    online_retail: Mapping, local: str, utc: str
) -> None:
    line = f"1,85123A,HOLDER,6,{local},2.55,,United Kingdom"
    _, event = only_event(online_retail, line) or pytest.fail("ignored")
    assert event.time == utc


@pytest.mark.parametrize(
    "line",
    [
        "1,85123A,HOLDER,six,2010-12-01 08:26:00,2.55,,UK",
        "1,85123A,HOLDER,1_000,2010-12-01 08:26:00,2.55,,UK",
        "1,85123A,HOLDER,2.5,2010-12-01 08:26:00,2.55,,UK",
        "1,85123A,HOLDER,inf,2010-12-01 08:26:00,2.55,,UK",
        "1,85123A,HOLDER,6,01/12/2010 08:26,2.55,,UK",
        "1,85123A,HOLDER,6,,2.55,,UK",
        "1,85123A,HOLDER",
        "1,8512\udce3A,HOLDER,6,2010-12-01 08:26:00,2.55,,UK",
    ],
)
def test_a_row_without_a_number_or_a_time_is_unreadable(online_retail: Mapping, line: str) -> None:
    with pytest.raises(RowError):
        only_event(online_retail, line)


def test_whole_numbers_are_read_as_spreadsheets_write_them(online_retail: Mapping) -> None:
    line = "1,85123A,HOLDER,6.0,2010-12-01 08:26:00,2.55,,UK"
    _, event = only_event(online_retail, line) or pytest.fail("ignored")
    assert event.data["quantity"] == 6


def test_a_missing_column_is_named_before_anything_is_published(online_retail: Mapping) -> None:
    with pytest.raises(MappingError, match="no column StockCode"):
        RowReader(online_retail, HEADER.replace("StockCode", "Code").split(","), "0")


def test_rows_are_numbered_without_the_header_and_without_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "till.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"two\nlines"\r\n\r\n3,4')
    with Rows(path, load_mapping(EXAMPLE).file) as rows:
        assert rows.header == ["a", "b"]
        assert list(rows) == [(1, ["1", "two\nlines"]), (2, ["3", "4"])]


def test_a_files_id_is_of_its_first_mib_as_it_lies_on_disk(tmp_path: Path) -> None:
    text = b"a,b\n" + b"1,2\n" * 500_000
    for name, content in {"plain.csv": text, "packed.csv.gz": gzip.compress(text)}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with Rows(path, load_mapping(EXAMPLE).file) as rows:
            assert rows.file_id == sha256(content[: 1024 * 1024]).hexdigest()[:12]
            assert sum(1 for _ in rows) == 500_000


def test_a_file_cut_off_says_how_far_it_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 50_000)[:-20])
    with pytest.raises(FileError, match="can't be read beyond line"):  # noqa: SIM117 – one fault
        with Rows(path, load_mapping(EXAMPLE).file) as rows:
            list(rows)


SNAPSHOT = """
feed = "erp"
final = true

[columns]
Plant = {}
Item = {}
Stock = { number = true }

[data]
location = { column = "Plant" }
sku = { column = "Item" }
quantity = { column = "Stock" }

[[rules]]
type = "snapshot"
"""


def test_all_rows_of_a_file_may_be_of_one_time(tmp_path: Path) -> None:
    path = tmp_path / "erp.toml"
    path.write_text(SNAPSHOT)
    mapping = load_mapping(path, datetime.fromisoformat("2026-03-01T07:00:00+02:00"))
    reading = RowReader(mapping, ["Plant", "Item", "Stock"], "0123456789ab")
    _, event = reading(7, ["DC", "mug", "3"]) or pytest.fail("ignored")
    assert (event.time, event.type) == ("2026-03-01T05:00:00.000Z", "atp.stock.snapshot.v1")
    assert event.data == {"location": "DC", "sku": "mug", "quantity": 3}


def test_the_same_list_of_another_time_has_other_ids(tmp_path: Path) -> None:
    path = tmp_path / "erp.csv"
    path.write_text("Plant,Item,Stock\n" + "DC,mug,3\n" * 200_000)
    monday = datetime.fromisoformat("2026-03-02T06:00:00Z")
    with Rows(path, File()) as rows:
        ids = {rows.file_id, rows.id_at(monday), rows.id_at(monday + timedelta(days=1))}
        assert rows.id_at(monday.astimezone(ZoneInfo("Asia/Tokyo"))) in ids
    path.write_text("Plant,Item,Stock\n" + "DC,mug,3\n" * 199_999 + "DC,mug,4\n")
    with Rows(path, File()) as rows:
        assert rows.id_at(monday) not in ids
    assert len(ids) == 3


def test_a_location_whose_rows_are_of_several_times_is_not_closed() -> None:
    parts = SnapshotParts()
    for location, time in (("A", "2026-03-01T05:00:00.000Z"), ("B", "2026-03-01T05:00:00.000Z")):
        parts.add(snapshot_line(location, time))
    parts.add(snapshot_line("B", "2026-03-01T05:00:00.001Z"))
    (final,) = parts.finals("erp", "0123456789ab").values()
    assert final == Event(
        id="0123456789ab/A",
        source="erp",
        type="atp.stock.snapshot.v1",
        time="2026-03-01T05:00:00.000Z",
        data={"location": "A", "final": True},
    )
    assert parts.of_several_times == ["B"]
    known = parts.as_compared("erp", {"erp": Feed(id="erp", location_map={"A": "DC-1"})})
    assert [part.location for part in known] == ["DC-1", "B", "B"]


def snapshot_line(location: str, time: str) -> Event:
    return Event(
        id="0123456789ab:1",
        source="erp",
        type="atp.stock.snapshot.v1",
        time=time,
        data={"location": location, "sku": "mug", "quantity": 1},
    )
