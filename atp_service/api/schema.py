"""The OpenAPI document.

Paths, parameters and responses come from Litestar's routes; the shapes from msgspec, which is what
decodes and encodes them: so bounds, patterns and closed objects are the real ones.
"""

from typing import Any

import msgspec
from litestar import MediaType, Request, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import Struct

from atp_service.api.static_files import Page
from atp_service.api.stock_events import StockEvent

_HOLD = {
    "reservation_id": "cart-9f2",
    "channel": "web",
    "customer_id": "c-7",
    "ttl_seconds": 900,
    "lines": [{"line_id": "1", "sku": "SKU-1", "location": "DC-1", "quantity": 2}],
}
_SALE = {
    "specversion": "1.0",
    "id": "till4-20261123-000123",
    "source": "pos/store-042",
    "type": "atp.stock.sale.v1",
    "time": "2026-11-23T10:00:00.000Z",
    "data": {"sku": "SKU-1", "location": "store-042", "quantity": 1},
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "HoldRequest": _HOLD,
    "ConfirmRequest": {"order_id": "order-1"},
    "AvailabilityRequest": {"skus": ["SKU-1"], "channel": "web"},
    "StockEvent": _SALE,
    "Problem": {
        "type": "urn:atp:problem:insufficient-stock",
        "title": "There are not enough units",
        "status": 409,
        "detail": "1 line can't be had in full.",
        "shortages": [
            {"line_id": "1", "sku": "SKU-1", "location": "DC-1", "requested": 2, "available": 1}
        ],
    },
}


# One event or many: the route takes the body apart itself, so Litestar doesn't know its shape.
_STOCK_EVENT = {"$ref": "#/components/schemas/StockEvent"}
_STOCK_EVENTS = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    _STOCK_EVENT,
                    {"type": "object", "description": "parked or rejected"},
                    {
                        "type": "array",
                        "items": {"anyOf": [_STOCK_EVENT, {"description": "rejected"}]},
                        "maxItems": 1000,
                    },
                ]
            }
        }
    },
}


# Said by the edge, before any route is asked.
_CROSS_ORIGIN = {
    "description": "`cross-origin`",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_BODY_OPTIONAL = (
    "/v1/reconciliations",
    "/v1/reservations/{reservation_id}/release",
    "/v1/reservations/{reservation_id}/fulfil",
)


class Shapes(OpenAPISchemaPlugin):
    """Registers each struct by name; msgspec describes them all at the end."""

    def __init__(self) -> None:
        self._structs: set[type[Struct]] = {StockEvent}

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return isinstance(value, type) and issubclass(value, Struct)

    def to_openapi_schema(
        self,
        field_definition: FieldDefinition,
        schema_creator: Any,  # its class is private to Litestar
    ) -> Schema:
        self._structs.add(field_definition.annotation)
        schema: Schema = schema_creator.create_component_schema(
            field_definition, required=[], property_fields={}
        )
        return schema

    def components(self) -> dict[str, Any]:
        _, components = msgspec.json.schema_components(
            sorted(self._structs, key=lambda struct: struct.__name__),
            ref_template="#/components/schemas/{name}",
        )
        return {
            name: schema | ({"examples": [_EXAMPLES[name]]} if name in _EXAMPLES else {})
            for name, schema in components.items()
        }


class Document(OpenAPIRenderPlugin):
    """The document at /schema/openapi.json."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)
        self._shapes = shapes
        self._document = b""

    def render(self, _: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if not self._document:
            openapi_schema["components"]["schemas"] = self._shapes.components()
            paths = openapi_schema["paths"]
            paths["/v1/stock-events"]["post"]["requestBody"] = _STOCK_EVENTS
            for calls in paths.values():
                asked = calls.get("get", {}).get("parameters", ())
                if "cursor" in (parameter["name"] for parameter in asked):  # a list
                    for parameter in asked:
                        # It counts as left out.
                        parameter |= {"allowEmptyValue": parameter["in"] == "query"}
                for method in calls.keys() - {"get"}:
                    calls[method]["responses"]["403"] = _CROSS_ORIGIN
            for path in _BODY_OPTIONAL:
                paths[path]["post"]["requestBody"]["required"] = False
            self._document = msgspec.json.encode(openapi_schema)
        return self._document


async def _only_what_is_there(request: Request[Any, Any, Any]) -> None:
    """Litestar answers unknown pages below /schema with HTML; here they are problems too."""
    if "path" in request.scope["path_params"]:
        raise NotFoundException


def openapi_config(shapes: Shapes, version: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="ATP Service",
        version=version,
        description="How many units can be sold, here, now, on this channel; and the promise kept.",
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            before_request=_only_what_is_there,
        ),
        render_plugins=[Page(), Document(shapes)],
        use_handler_docstrings=True,
    )
