"""A channel that a call names, and that memory doesn't have."""

from atp_service.api.problems import Refused, problem
from atp_service.catalog import Catalog, Unavailable


async def find_channel(catalog: Catalog, channel: str, *, auto_create: bool) -> None:
    """Looks for a channel that is only read about.

    It is not created, since it may be mistyped: where channels create themselves it just has no
    policy yet, else it is refused.
    """
    asked = await catalog.look_again(channels=[channel])
    if channel in catalog.channels or auto_create:
        return
    if not asked:
        raise Unavailable(f"channel {channel} can't be looked for")
    raise Refused(problem("unknown-channel", f"{channel} is not known.", channel=channel))


async def sell_on(catalog: Catalog, channel: str, *, auto_create: bool) -> None:
    """As `find_channel`, for who sells on it: it is created where channels create themselves."""
    if auto_create:
        await catalog.ensure(channels=[channel])
    else:
        await find_channel(catalog, channel, auto_create=False)
