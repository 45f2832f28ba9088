"""The roles of `atp worker`.

A role is one word: module, command line, log field, metric label.
"""

from typing import Final, Literal, get_args

Role = Literal["ingest", "record", "expire", "reconcile", "rebuild"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
