"""The handler a hold is compared with: `atp serve` itself, but for the application it serves.

So the server, its settings, its collector and its connections are the same by construction.
"""

import os
import sys
from typing import Any

from litestar import Litestar, post

from atp_service import api, app, log
from atp_service.config import read_settings


@post("/empty")
async def empty() -> dict[str, str]:
    return {}


def application(**_: Any) -> Litestar:
    return Litestar([empty])


if __name__ == "__main__":
    api.create = application  # type: ignore[assignment]  # answers as ASGI, like the other
    settings = read_settings(os.environ)
    log.configure(settings.log_level, "empty")
    sys.exit(app.serve(settings))
