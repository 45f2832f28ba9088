"""Single processes, started alone, and what the command line says when it can't."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from atp_service.embedded.postgres import OWNER, SERVICE, create_database


def _atp(*arguments: str, **settings: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    return subprocess.Popen(
        [sys.executable, "-m", "atp_service", *arguments],
        env=clean | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _refused(*arguments: str, **settings: str) -> str:
    process = _atp(*arguments, **settings)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("command", "setting"),
    [("serve", "ATP_REDIS_URL"), ("worker", "ATP_REDIS_URL"), ("migrate", "ATP_DATABASE_URL")],
)
def test_a_process_without_its_servers_names_the_setting(
    command: str, setting: str, tmp_path: Path
) -> None:
    said = _refused(command, ATP_DATA=str(tmp_path))
    assert f"{setting} is not set" in said
    assert "atp up" in said


def test_a_role_that_does_not_exist_is_refused_with_those_that_do() -> None:
    said = _refused("worker", "--only", "ingest,publish")
    assert "ingest, record, expire" in said
    assert "rebuild" in said


@pytest.mark.parametrize("command", ["up", "serve", "worker", "migrate", "env"])
def test_every_command_stops_at_a_wrong_setting(command: str) -> None:
    assert "ATP_PORT=eighty" in _refused(command, ATP_PORT="eighty")


def test_the_api_does_not_start_on_a_database_without_tables(
    redis_url: str, superuser_url: str
) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        create_database(connection, "without_tables")
    socket_folder = conninfo_to_dict(superuser_url)["host"]
    url = f"postgresql://{OWNER}@/without_tables?host={socket_folder}"
    said = _refused("serve", ATP_PORT="0", ATP_REDIS_URL=redis_url, ATP_DATABASE_URL=url)
    assert "ATP_DATABASE_URL has no tables of ours\nRun `atp migrate` first." in said


def test_an_empty_database_is_migrated_and_again_is_harmless(superuser_url: str) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        create_database(connection, "not_yet_migrated")

    def url(role: str) -> str:
        socket_folder = conninfo_to_dict(superuser_url)["host"]
        return f"postgresql://{role}@/not_yet_migrated?host={socket_folder}"

    for _ in range(2):
        process = _atp("migrate", ATP_DATABASE_URL=url(SERVICE), ATP_MIGRATION_URL=url(OWNER))
        said, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        assert said == "The database is up to date.\n"
    with psycopg.connect(url(SERVICE)) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)


def test_the_api_alone_serves_until_it_is_told_to_stop(
    redis_url: str, database_url: str, own_port: int
) -> None:
    api = _atp(
        "serve", ATP_PORT=str(own_port), ATP_REDIS_URL=redis_url, ATP_DATABASE_URL=database_url
    )
    _until_answered(f"http://127.0.0.1:{own_port}/health/ready", api)
    api.send_signal(signal.SIGTERM)
    _, said = api.communicate(timeout=30)
    assert api.returncode == 0, said
    assert '"event":"served"' in said


def test_a_worker_alone_shows_its_numbers_and_stops_when_told(
    redis_url: str, nats_url: str, database_url: str, own_port: int
) -> None:
    worker = _atp(
        "worker",
        ATP_WORKER_METRICS_PORT=str(own_port),
        ATP_REDIS_URL=redis_url,
        ATP_NATS_URL=nats_url,
        ATP_DATABASE_URL=database_url,
    )
    _until_answered(f"http://127.0.0.1:{own_port}/metrics", worker)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0, said
    assert '"event":"worked"' in said


def test_expiry_alone_needs_no_events(redis_url: str, database_url: str, own_port: int) -> None:
    worker = _atp(
        "worker",
        *("--only", "expire"),
        ATP_WORKER_METRICS_PORT=str(own_port),
        ATP_REDIS_URL=redis_url,
        ATP_DATABASE_URL=database_url,
    )
    _until_answered(f"http://127.0.0.1:{own_port}/metrics", worker)
    worker.send_signal(signal.SIGINT)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0, said


def _until_answered(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            if httpx2.get(url, timeout=2).is_success:
                return
        except httpx2.HTTPError:
            pass
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"in vain: {url}"
        time.sleep(0.05)
