"""The commands that prove, as people run them."""

import json
import subprocess
import sys
from typing import Any

from redis import Redis

from tests.instance import Instance


def printed_json(instance: Instance, *command: str, code: int | None = 0) -> dict[str, Any]:
    """What a command prints with `--json`; any exit code where `code` is None."""
    done = subprocess.run(
        [sys.executable, "-m", "atp_service", *command, "--json"],
        env=instance.environment,
        cwd=instance.log.parent,
        capture_output=True,
        timeout=900,
        check=False,
    )
    said = done.stdout.decode() + done.stderr.decode() + instance.log.read_text()
    assert code is None or done.returncode == code, said
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def redis_of(instance: Instance) -> Redis:
    return Redis.from_url(instance.environment["ATP_REDIS_URL"], protocol=2)


def lose_redis(instance: Instance) -> None:
    """Empty Redis, and wait until it is what it was, in a new life."""
    (before,) = instance.recorded("SELECT epoch FROM positions")
    with redis_of(instance) as redis:
        redis.flushall()
    instance.until(
        lambda: (
            instance.recorded("SELECT epoch FROM rebuilds WHERE opened_at IS NOT NULL")[-1:]
            == [(before[0] + 1,)]
        ),
        "Redis is rebuilt",
    )
    instance.until(
        lambda: instance.http.get("/health/ready").status_code == 200, "the API promises again"
    )
