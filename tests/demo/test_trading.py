"""The demo retailer does everything a retailer does, and its next start goes on from there."""

from tests.instance import Instance

EVERYTHING = {
    "adjustment",
    "confirm",
    "count",
    "fulfil",
    "hold",
    "incoming",
    "lapse",
    "receipt",
    "release",
    "return",
    "sale",
    "shipment",
    "state_change",
    "transfer_received",
    "transfer_shipped",
}
FAST = ("demo", "--speed", "20")


def seen(instance: Instance) -> set[str]:
    return {kind for (kind,) in instance.recorded("SELECT DISTINCT kind FROM entries")}


def openings(instance: Instance) -> list[tuple[str, str, int]]:
    return sorted(
        instance.recorded("SELECT source, event_id, seq FROM events WHERE event_id LIKE 'opening%'")
    )


def test_the_retailer_trades_and_a_second_start_goes_on_where_the_first_was(
    instance: Instance,
) -> None:
    serving = instance.start_serving()
    instance.start("worker")
    demo = instance.start(*FAST)
    most = EVERYTHING - {"lapse", "adjustment", "count", "state_change", "transfer_received"}
    instance.until(lambda: seen(instance) >= most, "a day's trade", 120)
    assert demo.poll() is None

    demo.terminate()
    assert demo.wait(10) == 0
    opened = openings(instance)
    assert len(opened) > 200

    demo = instance.start(*FAST)
    seq = instance.recorded_seq()
    instance.until(lambda: instance.recorded_seq() > seq + 200, "trade goes on")
    assert openings(instance) == opened

    # The API is away for a moment: everybody asks again, and nobody is lost.
    serving.terminate()
    serving.wait(15)
    instance.start_serving()
    (held,) = instance.recorded("SELECT count(*) FROM entries WHERE kind = 'hold'")
    instance.until(
        lambda: instance.recorded("SELECT count(*) FROM entries WHERE kind = 'hold'") > [held],
        "shoppers come back",
    )
    demo.terminate()
    assert demo.wait(10) == 0
    assert instance.recorded("SELECT * FROM parked") == []
