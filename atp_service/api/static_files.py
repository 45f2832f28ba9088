"""The page of the OpenAPI document, which works offline, and the files it is made of."""

from functools import cache
from importlib.resources import files
from typing import Any

from litestar import MediaType, Request, Router, get
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath
from litestar.response import Response

_STATIC = files("atp_service.api").joinpath("static", "swagger-ui")
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>ATP Service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/schema/assets/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/schema/assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
</script>
</body>
</html>
"""


class Page(OpenAPIRenderPlugin):
    """The page at /schema, and the files it is made of."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, _: Request[Any, Any, Any], __: dict[str, Any]) -> bytes:
        return _PAGE

    def receive_router(self, router: Router) -> None:
        router.register(_asset)


@get("/assets/{name:str}", sync_to_thread=False)
def _asset(name: FromPath[str]) -> Response[bytes]:
    if name not in _ASSETS:
        raise NotFoundException
    return Response(
        _read(name), media_type=_ASSETS[name], headers={"cache-control": "public, max-age=86400"}
    )


@cache
def _read(name: str) -> bytes:
    return _STATIC.joinpath(name).read_bytes()
