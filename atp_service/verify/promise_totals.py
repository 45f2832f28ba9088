"""The units that levels have promised, beside the reservations that hold them: to the unit."""

from atp_service.inventory.journal import LEVEL
from atp_service.inventory.stock import StockLevel, level_field
from atp_service.verify.decoded_entry import subject
from atp_service.verify.findings import Findings
from atp_service.verify.folded_state import FoldedState


def compare(state: FoldedState, findings: Findings) -> None:
    """Levels that have promised more or fewer units than the reservations hold become findings."""
    held: dict[str, tuple[int, int]] = {}  # by a level's name: reserved, allocated
    for reservation in state.partition.reservations.values():
        for line in reservation.lines:
            if line.reserved or line.allocated:
                key = level_field(line.sku, line.location)
                reserved, allocated = held.get(key, (0, 0))
                held[key] = (reserved + line.reserved, allocated + line.allocated)
    levels: dict[str, StockLevel] = state.partition.levels
    for key, level in levels.items():
        name, (reserved, allocated) = LEVEL + key, held.pop(key, (0, 0))
        for column, there, right in (
            ("reserved", level.reserved, reserved),
            ("allocated", level.allocated, allocated),
        ):
            if there != right:
                words = f"{subject(name)} has {there} {column}, its reservations hold {right}"
                findings.add("promises", words, state.images[name][0], (name,))
    for key in held:
        words = f"reservations hold units of {subject(LEVEL + key)}, which no entry has touched"
        findings.add("promises", words, None, (LEVEL + key,))
