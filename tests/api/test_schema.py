"""The API's description is true: what fits it is answered as it says, and what doesn't is not."""

import asyncio
import sys
from pathlib import Path

import uvicorn

from atp_service import api, record
from tests.api.conftest import Service, Stocked

EXAMPLES = 12


async def test_the_service_does_what_its_schema_says(
    service: Service, database_url: str, stocked: Stocked, tmp_path: Path
) -> None:
    """What cannot happen: a 5xx, a status or a shape the schema doesn't name, bad data taken in.

    Schemathesis tries: for each route it makes requests that fit the schema, at its edges, and
    requests that break it in one place.
    """
    await stocked(1_000)
    server = uvicorn.Server(
        uvicorn.Config(
            service.app,
            port=0,
            http=api.LaneProtocol,
            lifespan="off",
            proxy_headers=False,
            log_config=None,
        )
    )
    stop = asyncio.Event()
    recording = asyncio.create_task(record.run(service.store, database_url, stop=stop))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        trial = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{port}/schema/openapi.json",
            "--checks=all",
            "--exclude-checks=positive_data_acceptance",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--seed=1",
            "--generation-database=none",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await trial.communicate()
    finally:
        server.should_exit = True
        stop.set()
        await asyncio.gather(serving, recording)
    assert trial.returncode == 0, told.decode()
