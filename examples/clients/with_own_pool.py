"""A pool of one's own making: ``python with_own_pool.py "host=db dbname=orders user=app"``."""

import sys

from psycopg_pool import ConnectionPool

from secretbridge.adapters.psycopg import Login, RotatingConnection

with ConnectionPool(
    sys.argv[1],
    connection_class=RotatingConnection,
    kwargs={"login": Login("password")},
    open=True,
    min_size=1,
    max_lifetime=600,
) as pool:
    for _ in sys.stdin:  # at each line of input, a query over a new connection
        pool.drain()
        with pool.connection() as connection:
            print(connection.execute("SELECT current_user").fetchone()[0], flush=True)
