"""A channel that a call names, and that memory doesn't have."""

from atp_service.api.problems import Refused, problem
from atp_service.catalog import Catalog
from atp_service.catalog.resolve import is_channel_known


async def find_channel(catalog: Catalog, channel: str, *, auto_create: bool) -> None:
    """Refuses a channel that is only read about, if it is not known."""
    if not await is_channel_known(catalog, channel, auto_create=auto_create):
        raise Refused(problem("unknown-channel", f"{channel} is not known.", channel=channel))


async def sell_on(catalog: Catalog, channel: str, *, auto_create: bool) -> None:
    """As `find_channel`, for who sells on it: it is created where channels create themselves."""
    if auto_create:
        await catalog.ensure(channels=[channel])
    else:
        await find_channel(catalog, channel, auto_create=False)
