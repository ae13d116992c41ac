"""An engine of SQLAlchemy: ``python with_sqlalchemy.py postgresql+psycopg://app@db/orders``."""

import sys

from sqlalchemy import NullPool, create_engine, text

from secretbridge.adapters.sqlalchemy import attach

engine = create_engine(sys.argv[1], poolclass=NullPool)
attach(engine, "password")
for _ in sys.stdin:  # at each line of input, a query over a new connection
    with engine.connect() as connection:
        print(connection.execute(text("SELECT current_user")).scalar(), flush=True)
