"""What is odd in a file is counted and said: nothing of it stops the rest, nothing is lost."""

import gzip
from pathlib import Path

from tests.instance import Instance
from tests.replay.replay_command import recorded_on_hand, replay, words

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate\n"
ROWS = (
    '1,mug,"Mug, white",5,2011-06-01 10:00:00\n'
    "C1,MUG ,,-2,2011-06-01 11:00:00\n"
    "2,MUG,broken in transit – £3,-1,2011-06-01 12:00:00\n"
    "3,POST,,1,2011-06-01 12:00:00\n"
    "4,MUG,,many,2011-06-01 12:00:00\n"
    "5,MUG,,1,yesterday\n"
    "6,MUG,,0,2011-06-01 12:00:00\n"
    f"7,{'X' * 65},,1,2011-06-01 12:00:00\n"
)


def test_what_cannot_be_read_is_counted_and_what_cannot_be_applied_is_an_exception(
    instance: Instance, tmp_path: Path
) -> None:
    file = tmp_path / "odd.csv.gz"
    file.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    instance.start_serving()
    instance.start("worker")

    summary = replay(instance, file, code=1)

    assert summary["rows"] == 8
    assert summary["ignored"] == 1
    assert (summary["unreadable"], summary["unreadable_rows"]) == (2, [5, 6])
    assert summary["events"] == {"sale": 3, "return": 1, "adjustment": 1}
    assert (summary["published"], summary["applied"], summary["exceptions"]) == (5, 3, 2)
    assert recorded_on_hand(instance) == {"MUG": -4}
    listed = instance.http.get("/v1/exceptions", params={"status": "open"}).json()
    assert "broken" not in str(listed)
    assert str(listed).count("invalid") >= 1


def test_a_file_that_is_not_there_is_said_to_be_missing(instance: Instance, tmp_path: Path) -> None:
    process = instance.start(*words(tmp_path / "none.csv"))
    assert process.wait(30) == 2
