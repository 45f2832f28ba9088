"""Promises over HTTP: hold, replace, extend, confirm, release, fulfil, no-pick."""

from atp_service.api.reservations.routes import hot_routes, routes

__all__ = ["hot_routes", "routes"]
