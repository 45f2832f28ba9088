"""The API's description is true: what fits it is answered as it says, and what doesn't is not."""

import asyncio
import sys
from pathlib import Path

import pytest
import uvicorn

from atp_service import api
from tests.api.conftest import Service, Stocked
from tests.recorders import recording

EXAMPLES = 12


@pytest.mark.parametrize(
    "asked",
    [
        # Whether a body that fits is taken depends on what there is: SKUs, units, other bodies.
        ["--checks=all", "--exclude-checks=positive_data_acceptance"],
        # A question that fits is answered, whatever there is; but for that of a number of before
        # there was one, or for a channel that nobody knows.
        [
            "--checks=positive_data_acceptance",
            "--include-method=GET",
            "--exclude-path-regex=^/v1/(explain|availability)$",
        ],
    ],
    ids=["what is answered", "questions"],
)
async def test_the_service_does_what_its_schema_says(
    service: Service, database_url: str, stocked: Stocked, tmp_path: Path, asked: list[str]
) -> None:
    """What cannot happen: a 5xx, a status or a shape the schema doesn't name, bad data taken in, a
    good question refused.

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
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with recording(service.store, database_url):
            trial = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "run",
                f"http://127.0.0.1:{port}/schema/openapi.json",
                *asked,
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
        await serving
    assert trial.returncode == 0, told.decode()
