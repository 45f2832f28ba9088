"""Waiting until the ledger has an entry or an answer."""
