"""What proving and rebuilding need: raw images of levels, forks, runs of every kind, history."""

from pathlib import Path

import msgspec
from alembic import op

revision = "0002"
down_revision = "0001"

_decode_images = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def upgrade() -> None:
    # With the driver's own cursor: it takes many statements at once, and leaves % alone.
    connection = op.get_bind().connection
    cursor = connection.cursor()
    cursor.execute(Path(__file__).with_suffix(".sql").read_text())
    # A level's image stands in its latest entry, packed: that is beyond SQL.
    cursor.execute(
        """
        SELECT levels.sku, levels.location, entries.images
        FROM levels
        JOIN entries USING (partition, seq)
        """
    )
    rows = [
        (dict(_decode_images(images))[f"l{sku}\x1f{location}"], sku, location)
        for sku, location, images in cursor.fetchall()
    ]
    cursor.executemany("UPDATE levels SET document = %s WHERE sku = %s AND location = %s", rows)
    cursor.execute("ALTER TABLE levels ALTER COLUMN document SET NOT NULL")
