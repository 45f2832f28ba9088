"""A worker killed in the middle of a replay costs nothing but time."""

from pathlib import Path

from tests.instance import Instance
from tests.replay.mapping_files import count
from tests.replay.replay_command import recorded_on_hand, served_on_hand, words


def test_a_worker_killed_in_the_middle_and_started_again_gives_the_same_numbers(
    instance: Instance, tmp_path: Path
) -> None:
    file = tmp_path / "many.csv"
    with file.open("w", encoding="utf-8") as till:
        till.write("InvoiceNo,StockCode,Description,Quantity,InvoiceDate\n")
        for number in range(20_000):
            cancelled = number % 11 == 0
            till.write(
                f"{'C' if cancelled else ''}{number},SKU-{number % 97},,"
                f"{-3 if cancelled else 1 + number % 5},2011-03-{1 + number % 28:02} 10:00:00\n"
            )
    on_hand, rows = count(file)
    instance.start_serving()
    worker = instance.start("worker")
    replaying = instance.start(*words(file))

    instance.until(lambda: instance.recorded_seq() > 0, "the ledger grows")
    worker.kill()
    worker.wait()
    assert instance.recorded_seq() < rows.total(), "killed too late: nothing was left to do"
    instance.start("worker")

    assert replaying.wait(120) == 0
    assert recorded_on_hand(instance) == on_hand
    assert served_on_hand(instance, list(on_hand)) == on_hand
    assert instance.recorded_seq() == rows.total()
