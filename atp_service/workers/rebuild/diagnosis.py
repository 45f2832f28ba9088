"""Whether a Redis continues the ledger, or has to be rebuilt."""

from collections.abc import Awaitable, Callable

from atp_service.ledger import Position
from atp_service.store import Fenced
from atp_service.store.raw_partition import Site

PositionNow = Callable[[], Awaitable[Position | None]]


class NotToBeRebuilt(Exception):
    """A rebuild would destroy stock: the ledger is behind, or another release has written it."""


async def why(site: Site, position_now: PositionNow) -> str | None:
    """Why this Redis has to be rebuilt; None if it continues the ledger.

    Raises NotToBeRebuilt, or Unavailable of store or ledger.
    """
    try:
        await site.compare(position_now)
    except Fenced as fence:
        if fence.cause in ("ledger-behind", "format"):
            raise NotToBeRebuilt(fence.reason) from fence
        return fence.reason
    return None
