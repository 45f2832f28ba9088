"""Whether a Redis continues the ledger, or has to be rebuilt."""

from collections.abc import Awaitable, Callable

from atp_service.ledger import Position
from atp_service.store import Fenced
from atp_service.store.epoch_guard import RedisHeader
from atp_service.store.raw_partition import Site

PositionNow = Callable[[], Awaitable[Position | None]]


class NotToBeRebuilt(Exception):
    """A rebuild would destroy stock: the ledger is behind, or another release has written it."""


async def why(site: Site, position_now: PositionNow) -> str | None:
    """Why this Redis has to be rebuilt; None if it continues the ledger.

    Raises NotToBeRebuilt, or Unavailable of store or ledger.
    """
    try:
        await compare(site, position_now)
    except Fenced as fence:
        if fence.cause in ("ledger-behind", "format"):
            raise NotToBeRebuilt(fence.reason) from fence
        return fence.reason
    return None


async def compare(site: Site, position_now: PositionNow) -> tuple[RedisHeader, Position | None]:
    """Redis's header and the ledger's position before it. Raises Fenced unless Redis continues the
    ledger."""
    # The position first: Redis may only be ahead of it.
    position = await position_now()
    while True:
        header = await site.header()
        if header.seq is None and not header.rebuilding and position is None:
            return header, None  # the first start ever: the process that opens it first begins it
        try:
            await site.compare(header, position)
        except Fenced as fence:
            # Or it was ahead: meanwhile entries were recorded and trimmed, or another epoch has
            # begun.
            later = await position_now() if fence.cause == "ledger-behind" else position
            if later == position:
                raise
            position = later
        else:
            return header, position
