"""What a replay did, in numbers: for people and for programs."""

from msgspec import Struct


class Summary(Struct, kw_only=True):
    """Every row is one of: an event, ignored, unreadable. Every event is one of: applied,
    absorbed, an exception, a duplicate.

    `unreadable_rows` are the numbers of the first few.
    """

    file: str
    feed: str
    rows: int = 0
    events: dict[str, int] = {}
    ignored: int = 0
    unreadable: int = 0
    unreadable_rows: list[int] = []
    published: int = 0
    applied: int = 0
    absorbed: int = 0
    duplicates: int = 0
    exceptions: int = 0
    seconds: float = 0.0
    events_per_second: int = 0
