"""Valkey, NATS and PostgreSQL as children of ours, from wheels: no root, no Docker, no set-up."""
