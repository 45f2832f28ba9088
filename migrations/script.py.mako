"""${message}: the statements are in the file of the same name beside this one."""

from pathlib import Path

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    statements = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().connection.cursor().execute(statements)
