"""Names that memory does not have: looked up in Postgres, or created on first sight."""

from collections.abc import Collection, Sequence

from atp_service.catalog.catalog import Catalog
from atp_service.catalog.policy import Policy, policy_of
from atp_service.postgres import Unavailable

_UNASKED = ("unasked", "unasked_channel")


async def resolve(
    catalog: Catalog,
    *,
    skus: Collection[str] = (),
    locations: Collection[str] = (),
    channels: Collection[str] = (),
    feeds: Collection[tuple[str, str]] = (),
    create: bool,
) -> bool:
    """Whether a name that memory does not have now is unknown; else Postgres could not be asked.

    `create`: names that are not known are created with defaults, which needs no Postgres. `feeds`
    are (feed, location that it reported); the location is empty if it reported none.
    """
    if create:
        await catalog.ensure(skus=skus, locations=locations, channels=channels, feeds=feeds)
        return True
    return await catalog.look_up(
        skus=skus, locations=locations, channels=channels, feeds=[feed for feed, _ in feeds]
    )


async def look_for(
    catalog: Catalog, *, skus: Collection[str] = (), locations: Collection[str] = ()
) -> None:
    """Afterwards a name that memory does not have is unknown. Nothing is created.

    Raises Unavailable if Postgres has to be asked and is away.
    """
    if not await catalog.look_up(skus=skus, locations=locations):
        raise Unavailable(f"{', '.join([*skus, *locations])} can't be looked up")


async def is_channel_known(catalog: Catalog, channel: str, *, auto_create: bool) -> bool:
    """Whether a channel that is only read about may be shown.

    It is not created, since it may be mistyped. If channels are created on first sight, it has no
    policy yet. Raises Unavailable if Postgres has to be asked and is away.
    """
    if not channel or channel in catalog.channels:
        return True
    if not await catalog.look_up(channels=[channel]) and not auto_create:
        raise Unavailable(f"channel {channel} can't be looked up")
    return auto_create or channel in catalog.channels


async def policies_of(
    catalog: Catalog, channel: str, lines: Sequence[tuple[str, str]], *, auto_create: bool
) -> list[Policy]:
    """The policy of each (SKU, location) for a promise on the channel.

    The channel is created if channels are created on first sight. Never raises: a line whose names
    can't be looked up now is refused as such.
    """
    asked = True
    if channel and channel not in catalog.channels:
        asked = await resolve(catalog, channels=[channel], create=auto_create)
    policies = []
    for sku, location in lines:
        policy = policy_of(catalog, channel, sku, location, asked=False, new_channels=auto_create)
        if policy.refused in _UNASKED:
            break
        policies.append(policy)
    else:
        return policies
    asked &= await catalog.look_up(
        skus={sku for sku, _ in lines}, locations={location for _, location in lines}
    )
    return [
        policy_of(catalog, channel, sku, location, asked=asked, new_channels=auto_create)
        for sku, location in lines
    ]
