"""`atp verify` as it is called: what it prints, and how it exits."""

import json
import os
import subprocess
import sys

import pytest

from atp_service.ledger import Ledger
from atp_service.store import Store
from tests.verify.shop import Shop, a_past


@pytest.fixture
async def shop(database_url: str, migration_url: str, stock: Store, ledger: Ledger) -> Shop:
    shop = Shop(database_url, migration_url, stock, ledger)
    await shop.trade(*a_past())
    return shop


def verify(database_url: str, redis_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    return subprocess.run(
        [sys.executable, "-m", "atp_service", "verify", *options],
        env=kept | {"ATP_DATABASE_URL": database_url, "ATP_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_it_says_what_holds_and_what_does_not(shop: Shop, redis_url: str) -> None:
    done = verify(shop.database_url, redis_url)
    assert (done.returncode, "All holds" in done.stdout) == (0, True), done.stderr
    verdict = json.loads(verify(shop.database_url, redis_url, "--json").stdout)
    assert verdict["holds"]
    assert verdict["redis"] > 0
    digest = verify(shop.database_url, redis_url, "--no-redis", "--digest")
    assert (digest.returncode, digest.stdout.strip()) == (0, verdict["digest"])

    shop.tamper("movements", "UPDATE movements SET on_hand = on_hand + 1 WHERE seq = 7")
    done = verify(shop.database_url, redis_url)
    assert (done.returncode, "Something does not hold" in done.stdout) == (1, True)
    assert "entry 7: its row in movements" in done.stderr
    told = verify(shop.database_url, redis_url, "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["first"]["seq"] == 7


async def test_what_is_away_is_said(shop: Shop) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    without = verify(shop.database_url, nowhere, "--json")
    assert without.returncode == 2
    verdict = json.loads(without.stdout)
    assert verdict["holds"]
    assert verdict["redis_not_compared"]
    nobody = verify("postgresql://nobody@127.0.0.1:1/none", nowhere)
    assert nobody.returncode == 2
    assert "could not be verified" in nobody.stderr
