"""What stock the Online Retail file leaves, counted without anything of ours.

Written from the issue's words alone, as a check on the replay: it shares no code with it.
"""

import csv
import gzip
from collections import Counter, defaultdict
from pathlib import Path

NOT_GOODS = {"POST", "DOT", "M", "C2", "D", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS"}


def count(path: Path) -> tuple[dict[str, int], Counter[str]]:
    """(on_hand by SKU from an opening stock of 0, rows by what they are)."""
    on_hand: dict[str, int] = defaultdict(int)
    rows: Counter[str] = Counter()
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            code = row["StockCode"].strip().upper()
            quantity = int(row["Quantity"])
            if code in NOT_GOODS or code.startswith("GIFT_"):
                rows["ignored"] += 1
            elif row["InvoiceNo"].startswith("C"):
                rows["return"] += 1
                on_hand[code] += -quantity
            elif quantity < 0:
                rows["adjustment"] += 1
                on_hand[code] += quantity
            else:
                rows["sale"] += 1
                on_hand[code] -= quantity
    return dict(on_hand), rows
