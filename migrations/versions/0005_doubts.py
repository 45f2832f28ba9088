"""Whether Redis may have lost what nobody can see: the event stream is replayed for a doubt."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_text())
