"""A pool of psycopg: ``python with_psycopg.py "host=db dbname=orders user=app"``."""

import sys

from secretbridge.adapters.psycopg import connection_pool

with connection_pool("password", sys.argv[1], min_size=1, max_size=4) as pool:
    for _ in sys.stdin:  # at each line of input, a query over a new connection
        pool.drain()
        with pool.connection() as connection:
            print(connection.execute("SELECT current_user").fetchone()[0], flush=True)
