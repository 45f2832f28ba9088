"""A day of a real retailer's invoices, from the file to the ledger and to the shelf's number."""

from pathlib import Path

from nats.aio.client import Client

from tests.instance import Instance
from tests.proof.atp_commands import lose_redis, printed_json
from tests.replay.mapping_files import count
from tests.replay.replay_command import recorded_on_hand, replay, served_on_hand


async def test_a_day_of_invoices_leaves_the_stock_that_the_file_says(
    instance: Instance, online_retail: Path, empty_nats: Client
) -> None:
    day = online_retail / "slices" / "2011-12-05.csv"
    on_hand, rows = count(day)
    ignored = rows.pop("ignored")
    instance.start_serving()
    worker = instance.start("worker")

    summary = replay(instance, day)

    assert summary["rows"] == rows.total() + ignored
    assert summary["ignored"] == ignored
    assert summary["events"] == dict(rows)
    assert summary["published"] == summary["applied"] == rows.total()
    assert (summary["duplicates"], summary["exceptions"], summary["unreadable"]) == (0, 0, 0)
    assert recorded_on_hand(instance) == on_hand
    assert served_on_hand(instance, list(on_hand)) == on_hand

    # Again at once: JetStream itself still knows the messages.
    seq = instance.recorded_seq()
    again = replay(instance, day)
    assert (again["applied"], again["duplicates"]) == (0, rows.total())

    # Again with JetStream's memory gone: now it is for the service to know the events.
    worker.terminate()
    worker.wait(15)
    await empty_nats.jetstream().delete_stream("ATP_EVENTS")
    instance.start("worker")
    again = replay(instance, day)
    assert (again["applied"], again["duplicates"]) == (0, rows.total())
    assert instance.recorded_seq() == seq
    assert recorded_on_hand(instance) == on_hand
    assert served_on_hand(instance, list(on_hand)) == on_hand

    proven = printed_json(instance, "verify")
    assert (proven["holds"], proven["entries"]) == (True, rows.total())
    lose_redis(instance)
    assert served_on_hand(instance, list(on_hand)) == on_hand
    again = printed_json(instance, "verify")
    assert (again["holds"], again["digest"]) == (True, proven["digest"])
