"""The schema of the ledger and of the catalog, in plain SQL, applied in order by alembic."""
