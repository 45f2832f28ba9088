"""A fork: entries that Redis wrote and the ledger does not have, applied again after a rebuild."""
