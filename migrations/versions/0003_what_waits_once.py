"""A reconciliation that waits is there once; master data's history is append-only."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
