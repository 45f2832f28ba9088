"""The state machine once more, pure and plain: the specification people read.

Same functions, same order, same comments as in `inventory/lua`; the agreement test keeps the two
equal. It is the oracle of that test, and the engine of verification and simulation. Time comes in
as an argument; nothing here does input or output.
"""

from atp_service.inventory.model.batch import apply_batch
from atp_service.inventory.model.stock import ModelEntry, Partition

__all__ = ["ModelEntry", "Partition", "apply_batch"]
