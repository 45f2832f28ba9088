"""Whether a Redis has to be rebuilt, beside the ledger's position."""

from collections.abc import Awaitable, Callable

from atp_service.ledger import Position
from atp_service.store import Fenced
from atp_service.store.raw_partition import Site


class NotToBeRebuilt(Exception):
    """The ledger is behind: a rebuild would destroy stock."""


async def why(site: Site, position_now: Callable[[], Awaitable[Position | None]]) -> str | None:
    """Why this Redis has to be rebuilt; None where it continues the ledger.

    Raises NotToBeRebuilt, or Unavailable of store or ledger.
    """
    # The position first: Redis may only be ahead of it.
    position = await position_now()
    while True:
        header = await site.header()
        if header.seq is None and not header.rebuilding and position is None:
            return None  # the first start ever: whoever opens it first begins it
        try:
            await site.compare(header, position)
        except Fenced as fence:
            if fence.cause != "ledger-behind":
                return fence.reason
            # Or it was ahead: while we looked, entries were recorded and let go of, or another
            # epoch has begun.
            later = await position_now()
            if later == position:
                raise NotToBeRebuilt(fence.reason) from fence
            position = later
        else:
            return None
