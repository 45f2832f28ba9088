"""The main job: a year of invoices, proven, lost and recovered. Takes minutes, so it runs when
asked for: `make year`."""

import os
from pathlib import Path

import pytest

from tests.instance import Instance
from tests.proof.atp_commands import lose_redis, printed_json
from tests.replay.mapping_files import count
from tests.replay.replay_command import recorded_on_hand, replay, served_on_hand


def test_a_year_of_invoices_leaves_the_stock_that_the_file_says(
    instance: Instance, online_retail: Path
) -> None:
    if not os.environ.get("YEAR"):
        pytest.skip("the year takes minutes: `make year` runs it")
    year = online_retail / "online_retail_full.csv.gz"
    on_hand, rows = count(year)
    ignored = rows.pop("ignored")
    instance.start_serving()
    instance.start("worker")

    summary = replay(instance, year)

    assert (summary["rows"], summary["ignored"]) == (541_909, ignored)
    assert summary["events"] == dict(rows)
    assert summary["applied"] == rows.total()
    assert (summary["duplicates"], summary["exceptions"], summary["unreadable"]) == (0, 0, 0)
    assert recorded_on_hand(instance) == on_hand
    assert served_on_hand(instance, list(on_hand)) == on_hand

    again = replay(instance, year)
    assert (again["applied"], again["duplicates"]) == (0, rows.total())
    assert recorded_on_hand(instance) == on_hand

    proven = printed_json(instance, "verify")
    assert (proven["holds"], proven["entries"]) == (True, rows.total())
    lose_redis(instance)
    assert served_on_hand(instance, list(on_hand)) == on_hand
    again = printed_json(instance, "verify")
    assert (again["holds"], again["digest"]) == (True, proven["digest"])
