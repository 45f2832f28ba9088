"""Whether a Redis has to be rebuilt, beside the ledger's position."""

from atp_service.ledger import Position
from atp_service.store import Fenced
from atp_service.store.rebuilding import Site


class NotToBeRebuilt(Exception):
    """The ledger is behind: a rebuild would destroy stock."""


async def why(site: Site, position: Position | None) -> str | None:
    """Why this Redis has to be rebuilt; None where it continues the ledger.

    Raises NotToBeRebuilt, or Unavailable.
    """
    sight = await site.look()
    if sight.seq is None and not sight.rebuilding and (position is None or position.seq == 0):
        return None  # a first start: whoever opens it first begins it
    try:
        await site.compare(sight, position)
    except Fenced as fence:
        if fence.cause == "ledger-behind":
            raise NotToBeRebuilt(fence.reason) from fence
        return fence.reason
    return None
