"""The ledger and the catalog: the statements are in the file of the same name beside this one."""

from pathlib import Path

from alembic import op

revision = "0.2_0001"  # 0.1.0 had revisions 0001 to 0008
down_revision = None


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    statements = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().connection.cursor().execute(statements)
