"""How far each event stream is in the ledger: where a recovery begins to replay it."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
