"""The reservation calls as routes: hold, confirm and release in the lane, all in Litestar."""

from typing import Annotated

from litestar import Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Response

from atp_service.api.fast_path.hot_routes import Hot
from atp_service.api.litestar_routes import StrictBody, path_parameter, problems, repeated, respond
from atp_service.api.request_decoding import body_reader, path_id
from atp_service.api.reservations.calls import Reservations
from atp_service.api.reservations.documents import ConfirmedDocument, ReservationDocument
from atp_service.api.reservations.requests import (
    ConfirmRequest,
    ExtendRequest,
    FulfilRequest,
    HoldRequest,
    NoPickRequest,
    ReleaseRequest,
    ReplaceRequest,
)
from atp_service.api.responses import Call

ReservationId = Annotated[str, path_parameter("the cart's or the order's id")]
Reservation = Response[ReservationDocument]

_UNKNOWN = ("invalid", "unknown-sku", "unknown-location", "unknown-channel")
_DOOR = ("too-large", "overloaded", "fenced")
_RELEASE_ALL = ReleaseRequest()
_FULFIL_ALL = FulfilRequest()


def hot_routes(calls: Reservations) -> list[Hot]:
    """Those that a flash sale is made of."""
    read_hold = body_reader(HoldRequest)
    read_confirm = body_reader(ConfirmRequest)
    read_release = body_reader(ReleaseRequest)
    return [
        Hot(
            "POST",
            "/v1/reservations",
            lambda call, _, body: calls.hold(call, read_hold(body)),
        ),
        Hot(
            "POST",
            "/v1/reservations/{reservation_id}/confirm",
            lambda call, segment, body: calls.confirm(
                call, path_id("reservation_id", segment), read_confirm(body)
            ),
        ),
        Hot(
            "POST",
            "/v1/reservations/{reservation_id}/release",
            lambda call, segment, body: calls.release(
                call, path_id("reservation_id", segment), read_release(body)
            ),
        ),
    ]


def routes(calls: Reservations) -> Router:
    """All of them, with their schema."""

    @post(
        "/",
        status_code=201,
        dto=StrictBody[HoldRequest],
        return_dto=None,
        summary="Hold lines",
        responses=problems(
            *_UNKNOWN,
            "cart-spans-partitions",
            "reservation-id-reused",
            "location-unavailable",
            "insufficient-stock",
            *_DOOR,
        )
        | repeated(ReservationDocument),
    )
    async def hold(call: NamedDependency[Call], data: JSONBody[HoldRequest]) -> Reservation:
        return respond(await calls.hold(call, data))

    @get(
        "/{reservation_id:str}",
        summary="A reservation's current state",
        responses=problems("invalid", "not-found", "fenced"),
    )
    async def read(reservation_id: ReservationId) -> Reservation:
        return respond(await calls.get(path_id("reservation_id", reservation_id)))

    @put(
        "/{reservation_id:str}",
        dto=StrictBody[ReplaceRequest],
        return_dto=None,
        summary="Replace the lines",
        responses=problems(
            *_UNKNOWN,
            "cart-spans-partitions",
            "not-found",
            "reservation-not-held",
            "location-unavailable",
            "insufficient-stock",
            "generation-mismatch",
            *_DOOR,
        ),
    )
    async def replace(
        call: NamedDependency[Call], reservation_id: ReservationId, data: JSONBody[ReplaceRequest]
    ) -> Reservation:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.replace(call, reservation_id, data))

    @post(
        "/{reservation_id:str}/extend",
        status_code=200,
        dto=StrictBody[ExtendRequest],
        return_dto=None,
        summary="Move the deadline",
        responses=problems("invalid", "not-found", "reservation-not-held", *_DOOR),
    )
    async def extend(
        call: NamedDependency[Call], reservation_id: ReservationId, data: JSONBody[ExtendRequest]
    ) -> Reservation:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.extend(call, reservation_id, data))

    @post(
        "/{reservation_id:str}/confirm",
        status_code=200,
        dto=StrictBody[ConfirmRequest],
        return_dto=None,
        summary="The order is placed",
        responses=problems(
            "invalid",
            "not-found",
            "reservation-not-held",
            "reservation-lost",
            "already-confirmed",
            *_DOOR,
        ),
    )
    async def confirm(
        call: NamedDependency[Call], reservation_id: ReservationId, data: JSONBody[ConfirmRequest]
    ) -> Response[ConfirmedDocument]:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.confirm(call, reservation_id, data))

    @post(
        "/{reservation_id:str}/release",
        status_code=200,
        dto=StrictBody[ReleaseRequest],
        return_dto=None,
        summary="Give units back",
        responses=problems("invalid", "not-found", "quantity-not-open", *_DOOR),
    )
    async def release(
        call: NamedDependency[Call],
        reservation_id: ReservationId,
        data: JSONBody[ReleaseRequest] = _RELEASE_ALL,
    ) -> Reservation:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.release(call, reservation_id, data))

    @post(
        "/{reservation_id:str}/fulfil",
        status_code=200,
        dto=StrictBody[FulfilRequest],
        return_dto=None,
        summary="Units leave",
        responses=problems(
            "invalid",
            "unknown-location",
            "not-found",
            "reservation-not-confirmed",
            "quantity-not-open",
            *_DOOR,
        ),
    )
    async def fulfil(
        call: NamedDependency[Call],
        reservation_id: ReservationId,
        data: JSONBody[FulfilRequest] = _FULFIL_ALL,
    ) -> Reservation:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.fulfil(call, reservation_id, data))

    @post(
        "/{reservation_id:str}/no-pick",
        status_code=200,
        dto=StrictBody[NoPickRequest],
        return_dto=None,
        summary="The store can't find it",
        responses=problems(
            "invalid", "not-found", "reservation-not-confirmed", "quantity-not-open", *_DOOR
        ),
    )
    async def no_pick(
        call: NamedDependency[Call], reservation_id: ReservationId, data: JSONBody[NoPickRequest]
    ) -> Reservation:
        reservation_id = path_id("reservation_id", reservation_id)
        return respond(await calls.no_pick(call, reservation_id, data))

    return Router(
        "/v1/reservations",
        route_handlers=[hold, read, replace, extend, confirm, release, fulfil, no_pick],
        tags=["Reservations"],
    )
