"""A fork: entries that Redis wrote and the ledger lacks. They are saved, and applied again."""
