"""The handler a hold is compared with: `atp serve` itself, but for the application it serves.

So the server, its settings, its collector and its connections are the same by construction. With
`as-it-comes` the server is uvicorn without our way of writing responses.
"""

import os
import sys
from typing import Any

from litestar import Litestar, post

from atp_service import api, app, log
from atp_service.config import read_settings

AS_IT_COMES = "as-it-comes"


@post("/empty")
async def empty() -> dict[str, str]:
    return {}


def application(**_: Any) -> Litestar:
    return Litestar([empty])


if __name__ == "__main__":
    api.create = application  # type: ignore[assignment]  # answers as ASGI, like the other
    if AS_IT_COMES in sys.argv:
        api.OneWrite = "httptools"  # type: ignore[assignment,misc]  # uvicorn's name of its own
    settings = read_settings(os.environ)
    log.configure(settings.log_level, "empty")
    sys.exit(app.serve(settings))
