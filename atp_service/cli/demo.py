"""`atp demo`: a small retailer that trades on a running instance."""

import asyncio
import os
import signal
from datetime import UTC, datetime

import rich_click as click

from atp_service.cli.api_client import api_option
from atp_service.cli.settings import settings_here


@click.command("demo")
@api_option
@click.option("--seed", default=1, show_default=True, help="Decides what the shoppers do.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 20),
    default=1.0,
    show_default=True,
    help="Time passes so many times faster.",
)
def command(api: str | None, seed: int, speed: float) -> None:
    """Trade as 6 stores, a warehouse, a 3PL and their shoppers, until stopped."""
    settings = settings_here(os.environ, "nats_url")
    assert settings.nats_url is not None  # noqa: S101 – settings_here raises without it

    from atp_service import log
    from atp_service.demo.run import trade

    log.configure(settings.log_level, "demo")

    async def until_stopped() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await trade(
            api or settings.url,
            str(settings.nats_url),
            seed=seed,
            speed=speed,
            clock=lambda: datetime.now(UTC),
            closing=closing,
        )

    asyncio.run(until_stopped())
