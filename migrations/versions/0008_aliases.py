"""A SKU's other names are its alone."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
