"""The ledger's tables as the recorder writes them: columns in order, types, keys.

The migrations create the tables; all that packs, sends or compares their rows takes the columns
from here.
"""

from collections.abc import Callable
from itertools import takewhile
from struct import Struct as Layout
from typing import Final, NamedTuple

_NUMBERS: Final = {"int4": "i", "int8": "q", "timestamptz": "q"}


class Table(NamedTuple):
    """`columns` and `types` are in the order of the rows; `key` is the primary key, or the columns
    by which a row is found; `nullable` are the columns that may be null."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    nullable: frozenset[str]

    def places(self, *columns: str) -> tuple[int, ...]:
        """Where the columns stand in a row, the first is 0."""
        return tuple(map(self.columns.index, columns))

    def only(self, *columns: str) -> "Table":
        """The same table by some of its columns."""
        types = tuple(self.types[place] for place in self.places(*columns))
        return self._replace(columns=columns, types=types)

    def layout(self) -> Layout:
        """A row's beginning as COPY has it: how many values follow, then each number up to the
        first text, with its length before it."""
        return Layout(">h" + "".join(f"i{_NUMBERS[type_]}" for type_ in self._numbers()))

    def packer(self) -> Callable[..., bytes]:
        """A function that takes the numbers of `layout` and packs a row's beginning."""
        names = self.columns[: len(self._numbers())]
        lengths = (4 if type_ == "int4" else 8 for type_ in self.types)
        values = ", ".join(
            f"{length}, {name}" for length, name in zip(lengths, names, strict=False)
        )
        # As a call by hand would be: a closure takes half as long again, for each row.
        source = f"lambda {', '.join(names)}: pack({len(self.columns)}, {values})"
        pack: Callable[..., bytes] = eval(source, {"pack": self.layout().pack})  # noqa: S307  # names of ours
        return pack

    def _numbers(self) -> list[str]:
        columns = zip(self.columns, self.types, strict=True)
        numbers = takewhile(lambda c: c[1] in _NUMBERS and c[0] not in self.nullable, columns)
        return [type_ for _, type_ in numbers]


def _table(name: str, key: str, columns: str) -> Table:
    """`columns` has runs: a type, then its columns; a column that may be null ends in `?`."""
    types: list[str] = []
    names: list[str] = []
    for run in columns.split(","):
        type_, *of_type = run.split()
        types += [type_] * len(of_type)
        names += of_type
    nullable = frozenset(name.rstrip("?") for name in names if name.endswith("?"))
    plain = tuple(name.rstrip("?") for name in names)
    return Table(name, plain, tuple(types), tuple(key.split()), nullable)


# Appended, never changed.

ENTRIES: Final = _table(
    "entries",
    "partition seq",
    "int4 partition, int8 seq epoch, timestamptz at, text kind, bytea command head images,"
    "text digest, bytea chain",
)
MOVEMENTS: Final = _table(
    "movements",
    "sku location seq",
    "int4 partition, int8 seq version on_hand_delta on_hand reserved allocated unavailable,"
    "timestamptz occurred_at at, int8 safety_stock?, text sku location kind",
)
EVENTS: Final = _table(
    "events", "event_id source", "int4 partition, int8 seq, text source event_id status"
)
TRACES: Final = _table("traces", "ref partition seq", "int4 partition, int8 seq, text ref")
SNAPSHOT_LINES: Final = _table(
    "snapshot_lines",
    "source location taken_at sku seq",
    "int4 partition, int8 seq believed difference, timestamptz taken_at,"
    "text source location sku policy",
)
# A row has its exception's id; the recorder sends the exception's key in its place.
PARKED: Final = _table(
    "parked",
    "partition seq",
    "int4 partition, int8 seq, text source event_id detail, bytea payload, timestamptz at,"
    "text kind owner reference",
)

# Projections: brought up to date, a row for each thing.

LEVELS: Final = _table(
    "levels",
    "sku location",
    "int4 partition, int8 seq version moves on_hand reserved allocated unavailable,"
    "timestamptz updated_at, int8 safety_stock?, text sku location, jsonb extras, bytea document,"
    "int8 folded",
)
RESERVATIONS: Final = _table(
    "reservations",
    "reservation_id",
    "int4 partition, int8 seq, timestamptz expires_at? closed_at?,"
    "text reservation_id status order_id, bytea document, bool in_redis",
)
ORDERS: Final = _table(
    "orders", "order_id", "int4 partition, int8 seq, text order_id, bytea document, bool in_redis"
)
# Without the id, which Postgres gives, and a person's note.
EXCEPTIONS: Final = _table(
    "exceptions",
    "kind owner sku location reference",
    "int4 partition, int8 first_seq last_seq, text kind owner sku location reference status,"
    "int8 units?, text detail, int8 count, timestamptz first_at last_at settled_at?",
)
