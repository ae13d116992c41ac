"""Any client of libpq: ``python with_passfile.py "host=db dbname=orders user=app"``."""

import sys

import psycopg

from secretbridge.adapters.libpq import Passfile

with Passfile("password", user="app") as passfile:
    for _ in sys.stdin:  # at each line of input, a query over a new connection
        with psycopg.connect(sys.argv[1], passfile=passfile.path) as connection:
            print(connection.execute("SELECT current_user").fetchone()[0], flush=True)
