"""Postgres for every part of the service: the pool, leases, cursors, idempotency keys."""
