"""`atp up`: what a stranger sees, and what is left when it ends in whatever way."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from redis import Redis

from atp_service.embedded.postgres import Postgres
from atp_service.embedded.servers import socket_folder
from atp_service.processes.instance import find
from tests.embedded.atp_up import environment, until
from tests.embedded.conftest import Starter
from tests.retailer import fresh_database


def _atp(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atp_service", *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def _receive(url: str, units: int) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": "delivery-1",
        "source": "wms/dc-1",
        "type": "atp.stock.receipt.v1",
        "time": "2026-11-23T10:00:00.000Z",
        "data": {"sku": "SKU-1", "location": "DC-1", "quantity": units},
    }
    answer = httpx2.post(f"{url}/v1/stock-events", json=event, timeout=30)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["results"][0]
    return result


def _ats(url: str) -> int:
    answer = httpx2.get(f"{url}/v1/availability", params={"sku": "SKU-1"}, timeout=30)
    ats: int = answer.json()["items"][0]["ats"]
    return ats


def test_a_delivery_taken_in_before_a_kill_is_sellable_after_the_next_start(start: Starter) -> None:
    first = start()
    instance = first.runs()
    assert _receive(instance.url, 5)["status"] == "applied"
    assert _ats(instance.url) == 5

    first.stop(signal.SIGKILL)
    until(lambda: not first.processes(), f"no orphans: {first.processes()}")
    assert find(first.data) is None

    second = start()
    instance = second.runs()
    assert _ats(instance.url) == 5
    assert _receive(instance.url, 5)["status"] == "duplicate"

    assert second.stop(signal.SIGINT) == 0
    assert second.processes() == {}
    assert find(second.data) is None


def test_an_instance_is_found_by_its_data_and_is_the_only_one_there(start: Starter) -> None:
    up = start(ATP_DURABILITY="ledger")
    instance = up.runs()

    result = _atp("env", ATP_DATA=str(up.data))
    assert result.stdout.splitlines() == [
        f"export ATP_REDIS_URL={instance.redis_url}",
        f"export ATP_NATS_URL={instance.nats_url}",
        f"export ATP_DATABASE_URL='{instance.database_url}'",
        "export ATP_AUTO_CREATE=true",
        "export ATP_DURABILITY=ledger",
    ]
    again = _atp("up", "--no-demo", ATP_DATA=str(up.data), ATP_PORT="0")
    assert again.returncode == 2
    assert "an instance runs on" in again.stderr
    assert instance.url in again.stderr
    assert "ATP_DATA" in again.stderr
    assert httpx2.get(f"{instance.url}/health/ready", timeout=30).status_code == 200

    # The service's role can't touch what is recorded; the superuser is within, not without.
    with psycopg.connect(instance.database_url) as connection:
        row = connection.execute(
            "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == ("atp", False)


def test_a_process_that_dies_is_started_again(start: Starter) -> None:
    up = start()
    instance = up.runs()
    for command in ("-m atp_service serve", "valkey-server"):
        victim = next(pid for pid, line in up.processes().items() if command in line)
        os.kill(victim, signal.SIGKILL)
        until(
            lambda victim=victim, command=command: any(  # type: ignore[misc]
                command in line and pid != victim for pid, line in up.processes().items()
            ),
            f"another {command}",
        )
    until(lambda: _is_ready(instance.url), "readiness")
    assert up.stop(signal.SIGTERM) == 0


def test_with_three_urls_nothing_embedded_starts(
    start: Starter, redis_url: str, nats_url: str, database_url: str, migration_url: str
) -> None:
    up = start(
        ATP_REDIS_URL=redis_url,
        ATP_NATS_URL=nats_url,
        ATP_DATABASE_URL=database_url,
        ATP_MIGRATION_URL=migration_url,
        ATP_AUTO_CREATE="true",
    )
    instance = up.runs()
    ours = sorted(line.strip().rpartition(" ")[2] for line in up.processes().values())
    assert ours == ["--no-demo", "serve", "worker"]
    assert _receive(instance.url, 3)["status"] == "applied"
    with Redis.from_url(redis_url) as redis:
        assert redis.dbsize() > 0
    until(lambda: _entries(database_url), "the entry in the ledger that was named")


def test_a_redis_that_was_emptied_is_open_again_and_one_the_ledger_lags_behind_shows(
    start: Starter, redis_url: str, nats_url: str, postgres: Postgres
) -> None:
    with fresh_database(postgres) as database_url:
        up = start(
            ATP_REDIS_URL=redis_url,
            ATP_NATS_URL=nats_url,
            ATP_DATABASE_URL=database_url,
            ATP_AUTO_CREATE="true",
        )
        instance = up.runs()
        until(lambda: "state: ready · " in up.output.read_text(), "a state that is good")
        assert _receive(instance.url, 3)["status"] == "applied"
        until(lambda: _entries(database_url), "the entry in the ledger")
        with Redis.from_url(redis_url) as redis:
            redis.flushall()
            until(lambda: redis.hget("{0}meta", "epoch") == b"2", "the next epoch")
            until(lambda: _is_ready(instance.url), "readiness")
            assert _ats(instance.url) == 3

            redis.hset("{0}meta", "epoch", "9")
        said = "NOT READY: redis is fenced: the ledger is behind: Redis is in epoch 9, the ledger"
        until(lambda: said in up.output.read_text(), said)
        assert not _is_ready(instance.url)
        assert up.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ATP_REDIS_URL", "redis://127.0.0.1:1"),
        ("ATP_NATS_URL", "nats://127.0.0.1:1"),
        ("ATP_DATABASE_URL", "postgresql://127.0.0.1:1/none"),
        ("ATP_DATA", "/proc/nowhere"),
        ("ATP_REDIS_SERVER", "/bin/false"),
    ],
)
def test_a_setting_that_names_what_is_not_there_stops_the_start_by_name(
    setting: str, value: str, tmp_path: Path, redis_url: str, nats_url: str
) -> None:
    others = {"ATP_NATS_URL": nats_url, "ATP_DATA": str(tmp_path), "ATP_PORT": "0"}
    if setting != "ATP_REDIS_SERVER":
        others["ATP_REDIS_URL"] = redis_url
    refused = _atp("up", "--no-demo", **(others | {setting: value}))
    assert refused.returncode == 2
    assert setting in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_taken_port_is_named(tmp_path: Path, redis_url: str, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = {
            "ATP_PORT": str(other.getsockname()[1]),
            "ATP_DATA": str(tmp_path),
            "ATP_REDIS_URL": redis_url,
            "ATP_DATABASE_URL": database_url,
        }
        for command in ("serve", "up"):
            refused = _atp(command, **settings)
            assert refused.returncode == 2, refused.stderr
            assert "ATP_PORT" in refused.stderr
            assert "Traceback" not in refused.stderr


def test_a_data_folder_far_down_still_has_short_sockets(tmp_path: Path) -> None:
    data = tmp_path / ("far" * 30) / "down"
    folder = socket_folder(data)
    try:
        assert len(f"{folder}/.s.PGSQL.5432.lock") <= 107
        assert folder == socket_folder(data)
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/ready", timeout=5).is_success
    except httpx2.HTTPError:
        return False


def _entries(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM entries").fetchone()
    return int(row[0]) if row else 0
