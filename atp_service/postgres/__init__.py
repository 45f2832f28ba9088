"""Postgres for every part of the service: the pool, leases, cursors, idempotency keys."""

from atp_service.postgres.pool import ImpatientPool
from atp_service.postgres.unavailable import SchemaMissing, Unavailable
from atp_service.postgres.version import TooOld, check_version

__all__ = ["ImpatientPool", "SchemaMissing", "TooOld", "Unavailable", "check_version"]
