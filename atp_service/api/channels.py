"""A channel that a call names for the first time."""

from atp_service.api.problems import Refused, problem
from atp_service.catalog import Catalog


async def check_channel(catalog: Catalog, channel: str, *, create: bool) -> None:
    """Creates it where that is wanted, else refuses it."""
    if create:
        await catalog.ensure(channels=[channel])
        return
    await catalog.look_again(channels=[channel])
    if channel not in catalog.channels:
        catalog.check_loaded()
        raise Refused(problem("unknown-channel", f"{channel} is not known.", channel=channel))
