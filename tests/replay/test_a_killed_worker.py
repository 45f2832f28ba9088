"""A worker killed in the middle of a replay costs nothing but time."""

from pathlib import Path

from tests.replay.by_hand import count
from tests.replay.instance import Instance


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
    replaying = instance.start(*instance.replaying(file))

    for _ in range(2):
        before = instance.ledger_seq()
        instance.until(lambda: instance.ledger_seq() > before, "the ledger grows")  # noqa: B023
        worker.kill()
        worker.wait()
        assert instance.ledger_seq() < rows.total(), "killed too late: nothing was left to do"
        worker = instance.start("worker")

    assert replaying.wait(120) == 0
    assert instance.ledger_on_hand() == on_hand
    assert instance.served_on_hand(list(on_hand)) == on_hand
    assert instance.ledger_seq() == rows.total()
