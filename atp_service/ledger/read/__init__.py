"""Questions to the ledger, a module for each kind of question."""
