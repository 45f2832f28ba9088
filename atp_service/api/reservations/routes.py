"""The reservation calls: each is described once, for the fast path, for Litestar and the schema."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from litestar import Router, get, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from litestar.response import Response
from msgspec import Struct, structs

from atp_service.api.fast_path.hot_routes import Hot
from atp_service.api.litestar_routes import StrictBody, path_parameter, problems, repeated, respond
from atp_service.api.problems import Refused, invalid
from atp_service.api.request_decoding import body_reader, path_id
from atp_service.api.reservations.documents import ConfirmedDocument, ReservationDocument, document
from atp_service.api.reservations.outcomes import answer, no_reservation
from atp_service.api.responses import Answer, Call
from atp_service.promises import Promises
from atp_service.promises.requests import (
    ConfirmRequest,
    ExtendRequest,
    FulfilRequest,
    HoldRequest,
    LineRequest,
    LineUnitsRequest,
    NoPickRequest,
    ReleaseRequest,
    ReplaceRequest,
)
from atp_service.promises.service import Caller

_PATH = "/v1/reservations"
_OF_ONE = "/{reservation_id}"
_UNKNOWN = (
    *("invalid", "unknown-sku", "unknown-location", "unknown-channel"),
    "cart-spans-partitions",
)
_REFUSED = ("sku-unavailable", "location-unavailable", "insufficient-stock")
_DOOR = ("too-large", "overloaded", "fenced")

ReservationId = Annotated[str, path_parameter("the cart's or the order's id")]


class _Post(Struct, frozen=True, kw_only=True):
    """A call with a body; `run` takes the call, the reservation's id and the decoded body.

    `hot`: a flash sale is made of it, so that the fast path has it too.
    """

    path: str
    summary: str
    body: type[Struct]
    run: Callable[[Call, str, Any], Awaitable[Answer]]
    problems: tuple[str, ...]
    method: Literal["POST", "PUT"] = "POST"
    status: int = 200
    document: type[Struct] = ReservationDocument
    hot: bool = False


def _posts(promises: Promises) -> list[_Post]:
    calls = _Calls(promises)
    return [
        _Post(
            path="/",
            summary="Hold lines",
            body=HoldRequest,
            run=calls.hold,
            problems=(*_UNKNOWN, "reservation-id-reused", *_REFUSED, *_DOOR),
            status=201,
            hot=True,
        ),
        _Post(
            method="PUT",
            path=_OF_ONE,
            summary="Replace the lines",
            body=ReplaceRequest,
            run=calls.replace,
            problems=(
                *(*_UNKNOWN, "not-found", "reservation-not-held", "generation-mismatch"),
                *(*_REFUSED, *_DOOR),
            ),
        ),
        _Post(
            path=f"{_OF_ONE}/extend",
            summary="Move the deadline",
            body=ExtendRequest,
            run=calls.extend,
            problems=("invalid", "not-found", "reservation-not-held", *_DOOR),
        ),
        _Post(
            path=f"{_OF_ONE}/confirm",
            summary="The order is placed",
            body=ConfirmRequest,
            run=calls.confirm,
            problems=(
                *("invalid", "not-found", "reservation-not-held", "reservation-lost"),
                *("already-confirmed", *_DOOR),
            ),
            document=ConfirmedDocument,
            hot=True,
        ),
        _Post(
            path=f"{_OF_ONE}/release",
            summary="Give units back",
            body=ReleaseRequest,
            run=calls.release,
            problems=("invalid", "not-found", "quantity-not-open", *_DOOR),
            hot=True,
        ),
        _Post(
            path=f"{_OF_ONE}/fulfil",
            summary="Units leave",
            body=FulfilRequest,
            run=calls.fulfil,
            problems=(
                *("invalid", "unknown-location", "not-found", "reservation-not-confirmed"),
                *("quantity-not-open", *_DOOR),
            ),
        ),
        _Post(
            path=f"{_OF_ONE}/no-pick",
            summary="The store can't find it",
            body=NoPickRequest,
            run=calls.no_pick,
            problems=(
                *("invalid", "not-found", "reservation-not-confirmed", "quantity-not-open"),
                *_DOOR,
            ),
        ),
    ]


class _Calls:
    """From a decoded request to an answer."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises

    async def hold(self, call: Call, _: str, body: HoldRequest) -> Answer:
        _check_distinct(body.lines)
        return answer(await self._promises.hold(body, _caller(call)))

    async def replace(self, call: Call, reservation_id: str, body: ReplaceRequest) -> Answer:
        if body.reservation_id not in (None, reservation_id):
            return invalid(("/reservation_id", "not the id in the path"))
        _check_distinct(body.lines)
        promise = await self._promises.replace(reservation_id, body, _caller(call))
        return answer(promise, held=200)

    async def extend(self, call: Call, reservation_id: str, body: ExtendRequest) -> Answer:
        return answer(await self._promises.extend(reservation_id, body, _caller(call)))

    async def confirm(self, call: Call, reservation_id: str, body: ConfirmRequest) -> Answer:
        promise = await self._promises.confirm(reservation_id, body, _caller(call))
        return answer(promise, confirming=True)

    async def release(self, call: Call, reservation_id: str, body: ReleaseRequest) -> Answer:
        _check_distinct(body.lines or ())
        promise = await self._promises.release(reservation_id, body, _caller(call))
        return answer(promise, named=body.lines)

    async def fulfil(self, call: Call, reservation_id: str, body: FulfilRequest) -> Answer:
        _check_distinct(body.lines or ())
        promise = await self._promises.fulfil(reservation_id, body, _caller(call))
        return answer(promise, wrong_status="reservation-not-confirmed", named=body.lines)

    async def no_pick(self, call: Call, reservation_id: str, body: NoPickRequest) -> Answer:
        if body.reassign:
            return invalid(("/reassign", "a line can't be moved elsewhere by the service yet"))
        promise = await self._promises.no_pick(reservation_id, body, _caller(call))
        return answer(promise, wrong_status="reservation-not-confirmed")


def _caller(call: Call) -> Caller:
    return Caller(call.key, call.traceparent)


def _check_distinct(lines: Sequence[LineRequest | LineUnitsRequest]) -> None:
    """Refuses lines that share an id; a line without one has its place as its id, from 1."""
    if len(lines) < 2:
        return
    ids = [line.line_id or str(place) for place, line in enumerate(lines, 1)]
    if len(set(ids)) < len(ids):
        repeats = [i for i, line_id in enumerate(ids) if line_id in ids[:i]]
        raise Refused(invalid(*((f"/lines/{i}/line_id", "used by another line") for i in repeats)))


def hot_routes(promises: Promises) -> list[Hot]:
    """The calls that a flash sale is made of."""
    return [_hot(post) for post in _posts(promises) if post.hot]


def _hot(post: _Post) -> Hot:
    run, read = post.run, body_reader(post.body)
    if post.path == "/":
        return Hot(post.method, _PATH, lambda call, _, body: run(call, "", read(body)))
    return Hot(
        post.method,
        _PATH + post.path,
        lambda call, segment, body: run(call, path_id("reservation_id", segment), read(body)),
    )


def routes(promises: Promises) -> Router:
    """All of them, with their schema."""

    @get(
        "/{reservation_id:str}",
        summary="A reservation's current state",
        responses=problems("invalid", "not-found", "fenced"),
    )
    async def read(reservation_id: ReservationId) -> Response[ReservationDocument]:
        reservation_id = path_id("reservation_id", reservation_id)
        reservation = await promises.reservation(reservation_id)
        if reservation is None:
            return respond(no_reservation(reservation_id))
        return respond(Answer(200, document(reservation_id, reservation)))

    handlers = [_handler(post) for post in _posts(promises)]
    return Router(_PATH, route_handlers=[read, *handlers], tags=["Reservations"])


def _handler(described: _Post) -> HTTPRouteHandler:
    """The call as Litestar has it."""
    run, kind = described.run, described.body
    optional = not any(field.required for field in structs.fields(kind))
    responses = {
        described.status: ResponseSpec(
            described.document,
            description=HTTPStatus(described.status).description,
            generate_examples=False,
        ),
        **problems(*described.problems),
        **(repeated(described.document) if described.status != 200 else {}),
    }

    async def on_none(call: NamedDependency[Call], data: JSONBody[Any]) -> Response[Any]:
        return respond(await run(call, "", data))

    async def on_one(
        call: NamedDependency[Call], reservation_id: ReservationId, data: JSONBody[Any]
    ) -> Response[Any]:
        return respond(await run(call, path_id("reservation_id", reservation_id), data))

    async def on_one_without_body(
        call: NamedDependency[Call],
        reservation_id: ReservationId,
        data: JSONBody[Any] = kind() if optional else None,  # noqa: B008 # frozen
    ) -> Response[Any]:
        return await on_one(call, reservation_id, data)

    called = on_none if described.path == "/" else on_one_without_body if optional else on_one
    called.__name__ = run.__name__
    decorated = (post if described.method == "POST" else put)(
        described.path.replace("}", ":str}"),
        status_code=described.status,
        dto=StrictBody[kind],  # type: ignore[valid-type]  # a type, only known here
        return_dto=None,
        summary=described.summary,
        responses=responses,
    )
    return decorated(called)
