"""Run by alembic: opens the migration role's connection and applies what is missing.

One migration at a time: the second waits for the advisory lock, and finds all done.
"""

import psycopg
from alembic import context
from sqlalchemy import create_engine, pool

ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('atp migrate'))"

url: str = context.config.attributes["url"]
engine = create_engine(
    # libpq reads the address itself: every form it knows is welcome, sockets included.
    "postgresql+psycopg://",
    creator=lambda: psycopg.connect(url),
    poolclass=pool.NullPool,
)
with engine.connect() as connection:
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        connection.exec_driver_sql(ONE_AT_A_TIME)
        context.run_migrations()
