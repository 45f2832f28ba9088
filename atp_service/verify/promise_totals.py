"""What levels have promised beside the reservations it is promised to: to the unit."""

from collections.abc import Iterable, Mapping

from atp_service.inventory.reservations import decode_reservation
from atp_service.inventory.stock import decode_level, level_field
from atp_service.verify.decoded_entry import subject
from atp_service.verify.findings import Findings

Units = dict[str, tuple[int, int]]  # a level's name to reserved, allocated


def units_of(
    images: Mapping[str, tuple[int, bytes]], findings: Findings
) -> tuple[Units, list[str]]:
    """What the reservations among the images hold of each level, and which can't be read. A
    reservation names the entry that touched it last."""
    units: Units = {}
    unreadable = []
    for name, (seq, image) in images.items():
        if name[0] == "r":
            try:
                reservation = decode_reservation(image)
            except ValueError as fault:
                words = f"entry {seq}: {subject(name)} can't be read ({fault})"
                findings.add("images", words, seq, (name,))
                unreadable.append(name)
                continue
            if reservation.seq != seq:
                words = f"{subject(name)} has seq {reservation.seq}, should be {seq}"
                findings.add("images", f"entry {seq}: {words}", seq, (name,))
            for line in reservation.lines:
                if line.reserved or line.allocated:
                    key = level_field(line.sku, line.location)
                    reserved, allocated = units.get(key, (0, 0))
                    units[key] = (reserved + line.reserved, allocated + line.allocated)
    return units, unreadable


def compare(
    images: Mapping[str, tuple[int, bytes]], parts: Iterable[Units], findings: Findings
) -> None:
    """Levels that have promised other units than all parts together become findings."""
    rest: Units = {}
    for units in parts:
        for key, (reserved, allocated) in units.items():
            before = rest.get(key, (0, 0))
            rest[key] = (before[0] + reserved, before[1] + allocated)
    for name, (seq, image) in images.items():
        if name[0] == "l":
            level, right = decode_level(image), rest.pop(name[1:], (0, 0))
            for what, there, held in zip(
                ("reserved", "allocated"), (level.reserved, level.allocated), right, strict=True
            ):
                if there != held:
                    words = f"{subject(name)} has {there} {what}, its reservations hold {held}"
                    findings.add("promises", words, seq, (name,))
    for key in rest:
        words = f"reservations hold units of {subject(f'l{key}')}, which no entry has touched"
        findings.add("promises", words, None, (f"l{key}",))
