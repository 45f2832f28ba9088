"""The edge over HTTP: api.md's calls, in front of the store, the ledger and the catalog."""

from atp_service.api.application import create
from atp_service.api.edge import Edge
from atp_service.api.fast_path.http_protocol import LaneProtocol
from atp_service.api.fast_path.slow_callers import cut_off_slow_callers

__all__ = ["Edge", "LaneProtocol", "create", "cut_off_slow_callers"]
