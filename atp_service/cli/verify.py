"""`atp verify`: the proof that every number follows from the entries."""

import os
import sys

import rich_click as click

from atp_service.cli.output import STOPPED, fail, json_option, print_json
from atp_service.cli.settings import settings_here


@click.command("verify")
@click.option("--no-redis", is_flag=True, help="Verify the ledger only, without Redis.")
@click.option("--execute", is_flag=True, help="Execute each command once more: slower.")
@click.option("--digest", "digest_only", is_flag=True, help="Print the state's digest, no table.")
@json_option("verdict")
def command(no_redis: bool, execute: bool, digest_only: bool, as_json: bool) -> None:
    """Walk the ledger from its first entry, and name all that was changed since.

    Every entry must continue the one before, and with --execute be the result of its command. All
    else in the ledger, and Redis, must follow from the entries. Selling goes on meanwhile.

    Exits with 0 if all holds, with 1 if something does not, with 2 if it, or the comparison with
    Redis, could not be done.
    """
    needed = ["database_url"] if no_redis else ["redis_url", "database_url"]
    settings = settings_here(os.environ, *needed)

    import msgspec
    import uvloop
    from rich.console import Console

    from atp_service import app, log
    from atp_service.postgres import Unavailable
    from atp_service.progress import view
    from atp_service.verify import Progress, Verification, shown, table

    log.configure("error", "verify")
    console = Console(stderr=True)

    async def compare_redis(verification: Verification) -> None:
        alone = msgspec.structs.replace(settings, nats_url=None)
        async with app.connections(alone, "verify") as connections:
            await verification.compare_redis(connections.store, connections.ledger)

    try:
        with view(console, silent=as_json) as watching:
            verification = Verification(
                settings.database_url or "",
                settings.dedupe_hours * 3_600_000,
                Progress(watching.show),
                execute=execute,
            )
            with verification:
                verification.walk_ledger()
                if not no_redis:
                    uvloop.run(compare_redis(verification))
                verdict = verification.verdict()
    except Unavailable as fault:
        fail(f"the ledger could not be verified: {fault}")
    except KeyboardInterrupt:
        fail("stopped", STOPPED)
    for line in () if as_json else shown(verdict):
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(verdict)
    elif digest_only:
        click.echo(verdict.digest)
    else:
        Console().print(table(verdict))
    not_compared = not no_redis and verdict.redis_not_compared is not None
    sys.exit(1 if not verdict.holds else 2 if not_compared else 0)
