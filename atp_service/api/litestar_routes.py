"""What Litestar's routes have in common: strict bodies, the call, answers, documented problems.

Bodies are decoded by the same readers as in the lane; the schema of a body or an answer is
msgspec's own, so that it has exactly what is decoded and encoded (`schema.py`).
"""

from collections.abc import Callable, Generator
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request
from litestar.di import Provide
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.exceptions import MethodNotAllowedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Reference, Schema
from litestar.params import HeaderParameter, ParameterKwarg, PathParameter
from litestar.response import Response
from litestar.types import Scope
from litestar.typing import FieldDefinition
from msgspec.json import encode

from atp_service.api.problems import Problem, Refused, invalid, statuses
from atp_service.api.request_decoding import SLASH, body_reader, given
from atp_service.api.responses import Answer, Call
from atp_service.identifiers import Id

T = TypeVar("T")

_ANYWHERE = ("malformed", "request-timeout", "internal", "unavailable")

# An option of a route that shop pages call: what they add against caches is nothing to it.
ANY_QUERY = "any_query"


def bounds(kind: Any) -> dict[str, Any]:
    """What a parameter of this kind may be, for the schema; it is checked where it is read."""
    described = msgspec.json.schema(kind)
    return {name: described[name] for name in ("type", "minLength", "maxLength", "pattern")}


def path_parameter(description: str, kind: Any = Id) -> ParameterKwarg:
    """An id in a path."""
    return PathParameter(description=description, schema_extra=bounds(kind))


class StrictBody(AbstractDTO[T]):
    """Decodes `data` strictly; Litestar alone would take "2" for 2."""

    def decode_bytes(self, value: bytes) -> Any:
        read: Callable[[bytes], T] = body_reader(self.model_type)  # type: ignore[arg-type]  # a type
        return read(value)

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Nothing to prepare: the struct itself is what is decoded."""

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,  # noqa: ARG003  # Litestar's, as the next
        handler_id: str,  # noqa: ARG003
        schema_creator: Any,  # its class is private to Litestar
    ) -> Reference | Schema:
        definition = FieldDefinition.from_annotation(cls.model_type)
        schema: Reference | Schema = schema_creator.for_field_definition(definition)
        return schema

    @classmethod
    def generate_field_definitions(
        cls, model_type: type[Any]
    ) -> Generator[DTOFieldDefinition, None, None]:
        raise NotImplementedError("no transfer model is made")

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        raise NotImplementedError("no transfer model is made")


_IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="makes a repeat harmless, for 24 h",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
    ),
]


def _call(
    scope: Scope,
    idempotency_key: _IdempotencyKey = None,  # noqa: ARG001  # stands here for the schema, as below
    traceparent: Annotated[  # noqa: ARG001
        str | None,
        HeaderParameter(
            name="traceparent", description="W3C trace context, carried into the ledger"
        ),
    ] = None,
) -> Call:
    """The call, as the edge has read it."""
    call: Call = scope["state"]["call"]
    return call


def _call_key(
    scope: Scope,
    idempotency_key: _IdempotencyKey = None,  # noqa: ARG001
) -> str | None:
    """The key alone, for calls that leave nothing in the journal."""
    call: Call = scope["state"]["call"]
    return call.key


DEPENDENCIES = {
    "call": Provide(_call, sync_to_thread=False),
    "call_key": Provide(_call_key, sync_to_thread=False),
}


async def prepare(request: Request[Any, Any, Any]) -> None:
    """Puts back the slashes inside ids, which the edge has kept apart from those of the path.

    A GET with a parameter that the call doesn't have is refused: with a mistyped `at` or `owner` it
    would be another question.
    """
    if request.method == "OPTIONS":
        # Litestar's own answer to it names only some of the methods.
        raise MethodNotAllowedException
    params = request.scope["path_params"]
    for name, value in params.items():
        params[name] = value.replace(SLASH, "/")
    handler = request.route_handler
    known = handler.parsed_fn_signature.parameters
    if "cursor" in known:  # a list
        request.scope["query_string"] = given(request.scope["query_string"])
    ours = request.method == "GET" and request.scope["path"].startswith("/v1/")
    if ours and not handler.opt.get(ANY_QUERY):
        unknown = [name for name in request.query_params if name not in known]
        if unknown:
            raise Refused(invalid(*((f"/{name}", "not a parameter of this") for name in unknown)))


def respond(answer: Answer) -> Response[Any]:
    """An answer as Litestar sends it."""
    return Response(
        encode(answer.content),
        status_code=answer.status,
        headers={name.decode(): value.decode() for name, value in answer.headers},
    )


def problems(*slugs: str) -> dict[int, ResponseSpec]:
    """The problems a route may answer, for the schema; those any route may answer come along."""
    return {
        status: ResponseSpec(
            Problem,
            description=", ".join(f"`{slug}`" for slug in found),
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status, found in statuses(*slugs, *_ANYWHERE).items()
    }


def repeated(document: type[Any]) -> dict[int, ResponseSpec]:
    """A repeat, where the first time is answered by another status."""
    return {
        200: ResponseSpec(
            document, description="Repeated: `Idempotent-Replayed: true`", generate_examples=False
        )
    }
