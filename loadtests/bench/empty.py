"""The handler a hold is compared with: `atp serve` itself, but for the application it serves.

So the server, its settings, its collector and its connections are the same by construction. What
is not of the lane goes through uvicorn's own protocol there, and so does this.
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
    api.LaneProtocol = "httptools"  # type: ignore[assignment,misc]  # uvicorn's name of its own
    settings = read_settings(os.environ)
    log.configure(settings.log_level, "empty")
    sys.exit(app.serve(settings))
